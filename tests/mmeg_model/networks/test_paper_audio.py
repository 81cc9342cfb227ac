import pytest
import torch

from mmeg_model.networks.paper_audio import PaperAudioConfig, standardise


def test_mean_and_deviation_of_what_is_valid():
    samples = torch.tensor([[9, -9, 9000, 3000, 5000, 0]], dtype=torch.int16)
    valid = torch.tensor([[False, False, True, True, True, False]])
    actual = standardise(samples, valid)
    # Mean 17000 / 3 = 5666.7; deviations 3333.3, -2666.7, -666.7; their root mean square 2494.4, of full scale
    # 0.07612, and 0.07712 with the floor: 3333.3 / 32768 / 0.07712 = 1.3190.
    expected = torch.tensor([[0, 0, 1.3190, -1.0552, -0.2638, 0]])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_loudness_does_not_count_where_there_is_sound():
    torch.manual_seed(0)
    faint = torch.randint(-2000, 2000, (1, 640), dtype=torch.int16)
    valid = torch.ones(1, 640, dtype=torch.bool)
    torch.testing.assert_close(standardise(faint, valid), standardise(faint * 10, valid), rtol=0, atol=0.1)


def test_silence_stays_silent():
    valid = torch.ones(2, 640, dtype=torch.bool)
    almost = torch.zeros(2, 640, dtype=torch.int16)
    almost[1, ::2] = 1  # the last bit
    assert standardise(almost, valid).abs().max() < 0.02
    assert standardise(almost, ~valid).abs().max() == 0


def test_features_per_frame():
    assert PaperAudioConfig().num_outputs == 1280  # 640 / 2 positions of 40 / 10 channels


def test_channels_that_cannot_be_pooled():
    with pytest.raises(ValueError, match=r"channels \(45\) must be a multiple of pooled_channels \(10\)"):
        PaperAudioConfig(channels=45)
