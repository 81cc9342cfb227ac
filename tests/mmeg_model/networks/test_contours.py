import math

import numpy as np
import pytest
import torch

from mmeg_model.networks.contours import ContourExtractor, Contours

SECOND = 16_000


def contours_of(sound: np.ndarray, valid: np.ndarray | None = None) -> Contours:
    samples = torch.from_numpy(np.round(sound * 32767).astype(np.int16)).unsqueeze(0)
    mask = (
        torch.ones_like(samples, dtype=torch.bool) if valid is None else torch.from_numpy(valid).unsqueeze(0)
    )
    return ContourExtractor()(samples, mask)


def buzz(hertz: float, seconds: float = 1.0, *, amplitude: float = 0.1, tilt: float = 1.0) -> np.ndarray:
    """A voice-like tone: ten harmonics that fall off with a power of their number."""
    time = np.arange(round(seconds * SECOND)) / SECOND
    return amplitude * sum(np.sin(2 * np.pi * hertz * k * time) / k**tilt for k in range(1, 11))


@pytest.mark.parametrize("hertz", [70, 110, 128, 180, 256, 333, 450])
def test_pitch_of_a_voice_like_tone(hertz: float):
    """Within a tenth of a semitone, away from the edges."""
    contours = contours_of(buzz(hertz))
    inside = contours.voice[0, 0, 5:-5]
    assert contours.voiced[0, 5:-5].all()
    assert (inside - math.log2(hertz / 128)).abs().max() < 0.1 / 12


@pytest.mark.parametrize("tilt", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("hertz", [110, 180, 256])
def test_levels_of_harmonics(hertz: float, tilt: float):
    """Harmonic k has the power k^(-2 tilt); in nepers of power, relative to the mean of the first eight.

    Within 0.6 (2.6 dB): the mean of two samples that halves the rate softens 2 kHz by 1.3 dB, a bin may miss the
    top.
    """
    expected = -2 * tilt * np.log(np.arange(1, 9))
    levels = contours_of(buzz(hertz, tilt=tilt)).voice[0, 1:9, 5:-5].mean(dim=-1).numpy()
    assert np.abs(levels - (expected - expected.mean())).max() < 0.6


def test_noise_has_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, SECOND)
    contours = contours_of(noise)
    assert contours.active.float().mean() > 0.95
    assert contours.voiced.float().mean() < 0.1


def test_steps_of_20_ms():
    contours = contours_of(buzz(100, 0.4))
    assert contours.spectrum.shape == (1, ContourExtractor.num_spectral, 20)
    assert contours.voice.shape == (1, ContourExtractor.num_vocal, 20)
    assert contours.valid.shape == contours.active.shape == contours.voiced.shape == (1, 20)


def test_nothing_depends_on_the_gain():
    soft, loud = (contours_of(buzz(150, amplitude=amplitude)) for amplitude in (0.01, 0.25))
    assert (soft.spectrum - loud.spectrum).abs().max() < 0.1  # what rounding to 16 bits leaves
    voiced = soft.voiced[0]
    assert (soft.voice - loud.voice)[0, 0, voiced].abs().max() < 0.01
    assert (soft.voice - loud.voice)[0, 1:, voiced].abs().max() < 0.1
    assert torch.equal(soft.active, loud.active)


def test_pauses_are_not_active():
    """A second of tone, a second of the same 40 dB softer."""
    contours = contours_of(np.concatenate([buzz(150), buzz(150) / 100]))
    assert contours.active[0, 2:48].all()
    assert not contours.active[0, 52:].any()


def test_a_hole_is_neither_valid_nor_active_nor_voiced():
    valid = np.ones(SECOND, np.bool_)
    valid[4800:9600] = False  # steps 15 to 29
    contours = contours_of(buzz(150) * valid, valid)
    assert contours.valid[0].tolist() == [True] * 15 + [False] * 15 + [True] * 20
    assert not (contours.active & ~contours.valid).any()
    assert not (contours.voiced & ~contours.active).any()


def test_silence_is_valid_and_finite():
    contours = contours_of(np.zeros(SECOND))
    assert contours.valid.all()
    assert not contours.active.any()
    assert torch.isfinite(contours.spectrum).all()
    assert torch.isfinite(contours.voice).all()
