import pytest
import torch
from torch.testing import assert_close

from mmeg_model.networks.audio import AudioBranch, AudioConfig, Standardise, moments, share_and_changes


def test_moments_by_hand():
    """Of 1, 3, 5 at the first three steps: mean 3, deviation sqrt(8/3), differences of 2 at lag 1, of 4 at lag 2."""
    x = torch.tensor([[[1.0, 3.0, 5.0, 99.0]]])
    where = torch.tensor([[True, True, True, False]])
    assert_close(
        moments(x, where, (1, 2)), torch.tensor([[3.0, (8 / 3) ** 0.5, 2.0, 4.0]]), rtol=0, atol=1e-6
    )


def test_differences_do_not_reach_over_a_hole():
    """1, hole, 3, 3: at lag 1 only the last pair counts, at lag 2 only the pair around the hole."""
    x = torch.tensor([[[1.0, 50.0, 3.0, 3.0]]])
    where = torch.tensor([[True, False, True, True]])
    assert_close(moments(x, where, (1, 2))[0, 2:], torch.tensor([0.0, 2.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("outside", [0.0, 1e30, float("inf"), float("nan")])
def test_what_lies_outside_may_be_anything(outside: float):
    x = torch.tensor([[[2.0, outside, 4.0]]])
    where = torch.tensor([[True, False, True]])
    assert_close(moments(x, where, (2,)), torch.tensor([[3.0, 1.0, 2.0]]), rtol=0, atol=1e-6)
    assert moments(x, torch.zeros(1, 3, dtype=torch.bool), (1,)).tolist() == [[0, 0, 0]]


def test_share_and_changes_by_hand():
    """Of four valid steps three hold, and the state changes twice; a change into what is not valid is none."""
    state = torch.tensor([[True, False, True, True, False]])
    valid = torch.tensor([[True, True, True, True, False]])
    assert share_and_changes(state, valid).tolist() == [[0.75, 0.5]]
    assert share_and_changes(state, torch.zeros_like(valid))[0, 1] == 0


def test_standardise_measures_the_first_batch_of_the_training_alone():
    layer = Standardise(2)
    random = torch.Generator().manual_seed(0)
    first = torch.randn(500, 2, generator=random) * torch.tensor([3.0, 0.1]) + torch.tensor([10.0, -1.0])
    present = torch.ones(500, dtype=torch.bool)

    untouched = layer.eval()(first, present)
    seen = layer.train()(first, present)
    again = layer(first + 1, present)

    assert_close(untouched, first.clamp(-5, 5))
    assert_close(seen.mean(dim=0), torch.zeros(2), rtol=0, atol=0.01)
    assert_close(seen.std(dim=0), torch.ones(2), rtol=0, atol=0.02)
    assert (again.mean(dim=0) > 0.2).all()


def test_standardise_does_not_measure_what_is_absent():
    layer = Standardise(1).train()
    x = torch.tensor([[1.0], [3.0], [1000.0]])
    layer(x, torch.tensor([True, False, False]))  # one row has no spread
    assert not layer.measured
    layer(x, torch.tensor([True, True, False]))
    assert layer.measured
    assert layer.shift.item() == 2
    assert layer(x, torch.tensor([True, True, True]))[2].item() == 5


def test_rows_without_sound_change_nothing_for_the_others(monkeypatch: pytest.MonkeyPatch):
    """Nor are contours made of them."""
    torch.manual_seed(0)
    branch = AudioBranch(AudioConfig(), 8).eval()
    samples = torch.randint(-3000, 3000, (3, 6400), dtype=torch.int16)
    valid = torch.ones(3, 6400, dtype=torch.bool)
    alone = branch(samples[::2], valid[::2])
    valid[1] = False
    looked_at = []
    extract = branch.contours.forward
    monkeypatch.setattr(branch.contours, "forward", lambda x, v: looked_at.append(len(x)) or extract(x, v))

    together = branch(samples, valid)

    assert_close(together[::2], alone, rtol=0, atol=1e-6)
    assert torch.isfinite(together).all()
    assert looked_at == [2]
    branch(samples, torch.zeros_like(valid))
    assert looked_at == [2]
