"""Sound -> contours: what a phonetician draws over time. Fixed arithmetic, nothing is learned here."""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torchaudio.functional import create_dct
from torchaudio.transforms import MelSpectrogram

from mmeg_model.clip import SAMPLE_RATE_HZ

STEP_SAMPLES: Final = 320
"""20 ms: two steps to a frame of the picture."""
_WINDOW_SAMPLES: Final = 512
_NUM_MELS: Final = 40
_NUM_CEPSTRA: Final = 20
_FLOOR: Final = 1e-4
"""Added to power relative to the clip's mean, before the logarithm: 40 dB below it nothing is told apart."""
_ACTIVE_LOG_POWER: Final = -4.0
"""Steps within 17 dB of the clip's mean power are speech rather than pause."""

_PITCH_WINDOW: Final = 512
"""At half the sample rate: 64 ms, four periods of the lowest pitch."""
_LOWEST_HZ, _HIGHEST_HZ = 60, 500
_VOICED_STRENGTH: Final = 0.55
_OCTAVE_COST: Final = 0.02
"""Taken off the strength of a candidate for each octave that it lies lower, against errors by an octave."""


class Contours(NamedTuple):
    """Of a batch, a step every 20 ms."""

    spectrum: Tensor
    """(B, C, S): log-mel bands, cepstral coefficients, energy and harmonicity."""
    pitch: Tensor
    """(B, 1, S), in octaves above 128 Hz; means something where voiced."""
    valid: Tensor
    """(B, S), bool: there is sound at all."""
    active: Tensor
    """(B, S), bool: valid, and not a pause."""
    voiced: Tensor
    """(B, S), bool: active, and periodic."""


class ContourExtractor(nn.Module):
    """Int16 samples -> contours. Levels are relative to the clip's own mean: nothing depends on the gain."""

    num_spectral: Final = _NUM_MELS + _NUM_CEPSTRA + 2
    cosines: Tensor
    pitch_window: Tensor
    window_autocorrelation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(
            sample_rate=SAMPLE_RATE_HZ,
            n_fft=_WINDOW_SAMPLES,
            hop_length=STEP_SAMPLES,
            n_mels=_NUM_MELS,
            f_min=50,
            center=False,
        )
        window = torch.hann_window(_PITCH_WINDOW)
        self.register_buffer(
            "cosines", create_dct(_NUM_CEPSTRA, _NUM_MELS, "ortho").T.contiguous(), persistent=False
        )
        self.register_buffer("pitch_window", window, persistent=False)
        self.register_buffer("window_autocorrelation", _autocorrelation(window), persistent=False)

    def forward(self, samples: Tensor, samples_valid: Tensor) -> Contours:
        """Contours of samples, int16 (B, N), where samples_valid, (B, N); N is a multiple of 640."""
        valid = samples_valid.unflatten(1, (-1, STEP_SAMPLES)).any(dim=-1)  # (B, S)
        sound = samples.float().div(32768) * samples_valid  # (B, N), in [-1, 1)
        power = self.mel(_pad_to_centre(sound, _WINDOW_SAMPLES, STEP_SAMPLES))  # (B, 40, S)
        of_steps = power.mean(dim=1) * valid  # (B, S)
        level = of_steps.sum(dim=1, keepdim=True) / valid.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
        relative = power / (level.unsqueeze(1) + 1e-10) + _FLOOR
        log_mel = relative.log()  # (B, 40, S)
        energy = relative.mean(dim=1).log()  # (B, S)
        pitch, harmonicity = self._pitch(sound)  # (B, S) each
        active = valid & (energy > _ACTIVE_LOG_POWER)
        spectrum = torch.cat(
            [log_mel, self.cosines @ log_mel, energy.unsqueeze(1), harmonicity.unsqueeze(1)], dim=1
        )  # (B, 40 + 20 + 2, S)
        voiced = active & (harmonicity > _VOICED_STRENGTH)
        return Contours(spectrum, pitch.unsqueeze(1), valid, active, voiced)

    def _pitch(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Octaves above 128 Hz and strength in [0, 1], by autocorrelation (Boersma 1993, IFA Proceedings 17)."""
        rate_hz = SAMPLE_RATE_HZ // 2
        step = STEP_SAMPLES // 2
        halved = nn.functional.avg_pool1d(sound.unsqueeze(1), 2).squeeze(1)  # (B, N / 2)
        frames = _pad_to_centre(halved, _PITCH_WINDOW, step).unfold(1, _PITCH_WINDOW, step)  # (B, S, W)
        frames = (frames - frames.mean(dim=-1, keepdim=True)) * self.pitch_window
        lags = torch.arange(
            rate_hz // _HIGHEST_HZ - 1, rate_hz // _LOWEST_HZ + 2, device=sound.device
        )  # (L,)
        correlation = _autocorrelation(frames)[..., lags] / self.window_autocorrelation[lags]  # (B, S, L)
        inner, inner_lags = correlation[..., 1:-1], lags[1:-1]
        best = (inner - _OCTAVE_COST * (inner_lags / inner_lags[0]).log2()).argmax(
            dim=-1, keepdim=True
        )  # (B, S, 1)
        before, at, after = (correlation.gather(-1, best + i).squeeze(-1) for i in range(3))  # (B, S)
        # The top of the parabola through three lags lies less than a lag from the middle one.
        bend = (before - 2 * at + after).clamp(max=-1e-6)
        lag = inner_lags[best.squeeze(-1)] + ((before - after) / (2 * bend)).clamp(-1, 1)
        return (rate_hz / lag).log2() - math.log2(128), at.clamp(0, 1)


def _autocorrelation(frames: Tensor) -> Tensor:
    """Along the last axis, 1 at lag 0; all zeros for a frame of zeros."""
    length = frames.shape[-1]
    power = torch.fft.rfft(frames, 2 * length).abs().square()
    correlation = torch.fft.irfft(power)[..., :length]
    return correlation / (correlation[..., :1] + 1e-9)


def _pad_to_centre(sound: Tensor, window: int, step: int) -> Tensor:
    """Pad with zeros so that window k stands centred on step k, and there are as many windows as steps."""
    before = (window - step) // 2
    return nn.functional.pad(sound, (before, window - step - before))
