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

_VOICE_RATE_HZ: Final = SAMPLE_RATE_HZ // 2
_VOICE_WINDOW: Final = 512
"""At half the sample rate: 64 ms, four periods of the lowest pitch."""
_LOWEST_HZ, _HIGHEST_HZ = 60, 500
_VOICED_STRENGTH: Final = 0.55
_OCTAVE_COST: Final = 0.02
"""Taken off the strength of a candidate for each octave that it lies lower, against errors by an octave."""
_NUM_HARMONICS: Final = 8
"""As many as lie below 4 kHz at the highest pitch."""


class Contours(NamedTuple):
    """Of a batch, a step every 20 ms."""

    spectrum: Tensor
    """(B, 62, S): log-mel bands, cepstral coefficients, energy and harmonicity."""
    voice: Tensor
    """(B, 9, S): pitch in octaves above 128 Hz, and the log-power of its first eight harmonics relative to their
    mean; means something where voiced."""
    valid: Tensor
    """(B, S), bool: there is sound at all."""
    active: Tensor
    """(B, S), bool: valid, and not a pause."""
    voiced: Tensor
    """(B, S), bool: active, and periodic."""


class ContourExtractor(nn.Module):
    """Int16 samples -> contours. Levels are relative to the clip's own mean: nothing depends on the gain."""

    num_spectral: Final = _NUM_MELS + _NUM_CEPSTRA + 2
    num_vocal: Final = 1 + _NUM_HARMONICS
    cosines: Tensor
    voice_window: Tensor
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
        window = torch.hann_window(_VOICE_WINDOW)
        self.register_buffer(
            "cosines", create_dct(_NUM_CEPSTRA, _NUM_MELS, "ortho").T.contiguous(), persistent=False
        )
        self.register_buffer("voice_window", window, persistent=False)
        self.register_buffer(
            "window_autocorrelation", _autocorrelation(_power_spectrum(window)), persistent=False
        )

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
        active = valid & (energy > _ACTIVE_LOG_POWER)
        voice, harmonicity = self._voice(sound)  # (B, 9, S), (B, S)
        spectrum = torch.cat(
            [log_mel, self.cosines @ log_mel, energy.unsqueeze(1), harmonicity.unsqueeze(1)], dim=1
        )  # (B, 40 + 20 + 2, S)
        voiced = active & (harmonicity > _VOICED_STRENGTH)
        return Contours(spectrum, voice, valid, active, voiced)

    def _voice(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        """What `Contours.voice` is, and how periodic the sound is, in [0, 1]."""
        step = STEP_SAMPLES // 2
        halved = nn.functional.avg_pool1d(sound.unsqueeze(1), 2).squeeze(1)  # (B, N / 2)
        frames = _pad_to_centre(halved, _VOICE_WINDOW, step).unfold(1, _VOICE_WINDOW, step)  # (B, S, W)
        frames = (frames - frames.mean(dim=-1, keepdim=True)) * self.voice_window
        power = _power_spectrum(frames)  # (B, S, W + 1)
        period, harmonicity = self._period(power)  # (B, S) each
        log_power = (power + _FLOOR * power.mean(dim=-1, keepdim=True) + 1e-9).log()
        pitch = (_VOICE_RATE_HZ / period).log2() - math.log2(128)
        voice = torch.cat([pitch.unsqueeze(-1), _harmonics(log_power, period)], dim=-1)  # (B, S, 9)
        return voice.transpose(1, 2), harmonicity

    def _period(self, power: Tensor) -> tuple[Tensor, Tensor]:
        """In samples, and strength in [0, 1], by autocorrelation (Boersma 1993, IFA Proceedings 17)."""
        lags = torch.arange(
            _VOICE_RATE_HZ // _HIGHEST_HZ - 1, _VOICE_RATE_HZ // _LOWEST_HZ + 2, device=power.device
        )  # (L,)
        correlation = _autocorrelation(power)[..., lags] / self.window_autocorrelation[lags]  # (B, S, L)
        inner, inner_lags = correlation[..., 1:-1], lags[1:-1]
        best = (inner - _OCTAVE_COST * (inner_lags / inner_lags[0]).log2()).argmax(
            dim=-1, keepdim=True
        )  # (B, S, 1)
        before, at, after = (correlation.gather(-1, best + i).squeeze(-1) for i in range(3))  # (B, S)
        # The top of the parabola through three lags lies less than a lag from the middle one.
        bend = (before - 2 * at + after).clamp(max=-1e-6)
        period = inner_lags[best.squeeze(-1)] + ((before - after) / (2 * bend)).clamp(-1, 1)
        return period, at.clamp(0, 1)


def _harmonics(log_power: Tensor, period: Tensor) -> Tensor:
    """Level of each harmonic relative to their mean, (B, S, 8): breathy voices have little but the first.

    Hanson 1997, JASA 101 (1): glottal characteristics from the levels of harmonics.
    """
    # The highest of five bins, 39 Hz: a small error of the pitch is a large one of its eighth harmonic.
    peaks = nn.functional.max_pool1d(log_power, 5, stride=1, padding=2)  # (B, S, W + 1)
    numbers = torch.arange(1, _NUM_HARMONICS + 1, device=period.device)
    bins = (numbers * (2 * _VOICE_WINDOW) / period.unsqueeze(-1)).round().long().clamp(max=_VOICE_WINDOW)
    levels = peaks.gather(-1, bins)  # (B, S, 8)
    return levels - levels.mean(dim=-1, keepdim=True)


def _power_spectrum(frames: Tensor) -> Tensor:
    """Of frames, (..., W), padded with as many zeros, (..., W + 1)."""
    return torch.fft.rfft(frames, 2 * frames.shape[-1]).abs().square()


def _autocorrelation(power: Tensor) -> Tensor:
    """Of frames with that power spectrum, (..., W + 1), to (..., W); 1 at lag 0, all zeros for frames of zeros."""
    correlation = torch.fft.irfft(power)[..., : power.shape[-1] - 1]
    return correlation / (correlation[..., :1] + 1e-9)


def _pad_to_centre(sound: Tensor, window: int, step: int) -> Tensor:
    """Pad with zeros so that window k stands centred on step k, and there are as many windows as steps."""
    before = (window - step) // 2
    return nn.functional.pad(sound, (before, window - step - before))
