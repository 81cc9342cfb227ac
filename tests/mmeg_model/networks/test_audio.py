import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from mmeg_model.networks.audio import AudioBranch, AudioConfig, Standardise, functionals, share_and_changes

NUM_SAMPLES = 640 * 30


def test_functionals_by_hand():
    """Of 1, 3, 8 at the first three steps: mean 4, differences from it -3, -1, 4.

    Deviation sqrt(26/3); skewness (-27 - 1 + 64)/3 = 12 over its cube. Time, standardised, is -a, 0, a with
    a = sqrt(3/2): linear trend (3a + 4a)/3; quadratic, against a² - 1, -1, a² - 1 = 1/2, -1, 1/2:
    (-3/2 + 1 + 2)/3 = 1/2. Rises of 2 and 5 at lag 1, of 7 at lag 2; no falls.
    """
    x = torch.tensor([[[1.0, 3.0, 8.0, 99.0]]])
    where = torch.tensor([[True, True, True, False]])
    deviation = (26 / 3) ** 0.5
    expected = torch.tensor([[4.0, deviation, 12 / deviation**3, 7 / 3 * 1.5**0.5, 0.5, 3.5, 0.0, 7.0, 0.0]])
    assert_close(functionals(x, where, (1, 2)), expected, rtol=5e-3, atol=1e-6)


def test_functionals_as_numpy_has_them_in_double_precision():
    x = np.random.default_rng(0).gamma(2, size=(3, 400))
    result = functionals(torch.from_numpy(x).float().unsqueeze(0), torch.ones(1, 400, dtype=torch.bool), (1,))
    mean, deviation, skewness = result[0, :9].view(3, 3).numpy()
    standardised = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    assert np.abs(mean - x.mean(axis=1)).max() < 1e-5
    assert np.abs(deviation - x.std(axis=1)).max() < 1e-5
    assert np.abs(skewness - (standardised**3).mean(axis=1)).max() < 0.02


def test_rises_and_falls_by_hand():
    """5, 1, 2, 0: at lag 1 falls of 4 and 2 and a rise of 1, each over three pairs; the trend is down."""
    x = torch.tensor([[[5.0, 1.0, 2.0, 0.0]]])
    result = functionals(x, torch.ones(1, 4, dtype=torch.bool), (1,))[0]
    assert_close(result[5:], torch.tensor([1 / 3, -2.0]))
    assert result[3] < 0


def test_pairs_do_not_reach_over_a_hole():
    """1, hole, 3, 3: at lag 1 only the last pair counts, at lag 2 only the pair around the hole."""
    x = torch.tensor([[[1.0, 50.0, 3.0, 3.0]]])
    where = torch.tensor([[True, False, True, True]])
    assert_close(functionals(x, where, (1, 2))[0, 5:], torch.tensor([0.0, 0.0, 2.0, 0.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("outside", [0.0, 1e30, float("inf"), float("nan")])
def test_what_lies_outside_may_be_anything(outside: float):
    """2 and 4: mean 3, deviation 1, no skewness, rising by a deviation of time, a rise of 2."""
    x = torch.tensor([[[2.0, outside, 4.0]]])
    where = torch.tensor([[True, False, True]])
    expected = torch.tensor([[3.0, 1.0, 0.0, 1.0, 0.0, 2.0, 0.0]])
    assert_close(functionals(x, where, (2,)), expected, rtol=0, atol=2e-3)
    assert functionals(x, torch.zeros(1, 3, dtype=torch.bool), (1,)).tolist() == [[0] * 7]


@pytest.mark.parametrize("num_steps", [1, 2])
def test_fewer_steps_than_the_longest_lag(num_steps: int):
    result = functionals(torch.ones(1, 2, num_steps), torch.ones(1, num_steps, dtype=torch.bool), (1, 16))
    assert_close(result, torch.tensor([[1.0, 1.0] + [0.0] * 16]))


def test_share_and_changes_by_hand():
    """Of four valid steps three hold, and the state changes twice; a change into what is not valid is none."""
    state = torch.tensor([[True, False, True, True, False]])
    valid = torch.tensor([[True, True, True, True, False]])
    assert share_and_changes(state, valid).tolist() == [[0.75, 0.5]]
    assert share_and_changes(state, torch.zeros_like(valid))[0, 1] == 0


def test_standardise():
    layer = Standardise(2)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(500, 2, generator=random) * torch.tensor([3.0, 0.1]) + torch.tensor([10.0, -1.0])
    assert_close(layer(x), x.clamp(-5, 5))

    layer.measure(x)

    assert_close(layer(x).mean(dim=0), torch.zeros(2), rtol=0, atol=0.01)
    assert_close(layer(x).std(dim=0), torch.ones(2), rtol=0, atol=0.02)
    assert layer(torch.full((1, 2), 1e6)).tolist() == [[5.0, 5.0]]


def test_bfloat16_does_not_reach_the_contours(branch: AudioBranch):
    samples = torch.from_numpy(tones_and_pauses(0)).unsqueeze(0)
    valid = torch.ones_like(samples, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        features = branch.features(samples, valid)
    assert torch.equal(features, branch.features(samples, valid))


@pytest.fixture(scope="module")
def branch() -> AudioBranch:
    torch.manual_seed(0)
    return AudioBranch(AudioConfig(), 8).eval()


def tones_and_pauses(seed: int, *, amplitude: float = 1.0) -> np.ndarray:
    """Vowel-like tones that glide and fade, 1.2 s of them, int16."""
    random = np.random.default_rng(seed)
    time = np.arange(NUM_SAMPLES) / 16_000
    hertz = random.uniform(90, 300) * 2 ** (0.4 * np.sin(2 * np.pi * random.uniform(0.5, 2) * time))
    phase = 2 * np.pi * np.cumsum(hertz) / 16_000
    tone = sum(np.sin(k * phase) / k for k in range(1, 12)) * np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1)
    return np.round(amplitude * 3000 * (tone + random.normal(0, 0.01, NUM_SAMPLES))).astype(np.int16)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 9),
    num_padded=st.integers(1, 20),
    hole=st.tuples(st.integers(0, 30), st.integers(0, 30)),
)
def test_neither_neighbours_nor_padding_matter(
    branch: AudioBranch, seed: int, num_padded: int, hole: tuple[int, int]
):
    samples = torch.from_numpy(np.stack([tones_and_pauses(seed), tones_and_pauses(seed + 1)]))
    valid = torch.ones_like(samples, dtype=torch.bool)
    valid[0, min(hole) * 640 : max(hole) * 640] = False
    longer = [torch.nn.functional.pad(x, (0, num_padded * 640)) for x in (samples, valid)]
    with torch.inference_mode():
        alone, beside = branch(samples[:1], valid[:1])[0], branch(*longer)[0]
    assert (alone - beside).abs().max() < 1e-5


def test_the_gain_does_not_matter(branch: AudioBranch):
    """Beyond what rounding to 16 bits leaves."""
    loud, soft = (torch.from_numpy(tones_and_pauses(3, amplitude=gain)).unsqueeze(0) for gain in (2.0, 0.2))
    valid = torch.ones_like(loud, dtype=torch.bool)
    with torch.inference_mode():
        difference = (branch.features(loud, valid) - branch.features(soft, valid)).abs()
    assert difference.median() < 3e-3
    assert difference.mean() < 0.01
