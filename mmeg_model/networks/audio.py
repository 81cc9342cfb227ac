"""The sound's branch of `compact`: log-mel spectrogram and small convolutions."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from mmeg_model.clip import SAMPLE_RATE_HZ
from mmeg_model.networks.pooling import AttentiveStatistics

HOP_SAMPLES = 160
"""10 ms: four steps of the spectrogram to a frame of the picture."""
WINDOW_SAMPLES = 512
POWER_FLOOR = 1e-5
"""Added before the logarithm; about what the rounding of 16-bit samples leaves in a mel band."""


@dataclass(frozen=True)
class AudioConfig:
    """Sizes of the sound's branch."""

    num_mels: int = 64
    channels: tuple[int, ...] = (24, 48, 64, 96)
    """Of the convolutions; each halves the frequency axis, every other one, from the first, the time axis."""


class LogMel(nn.Module):
    """Samples -> log-mel spectrogram around each clip's own mean level, zero where there is no sound."""

    def __init__(self, num_mels: int) -> None:
        super().__init__()
        self.mel = MelSpectrogram(
            sample_rate=SAMPLE_RATE_HZ,
            n_fft=WINDOW_SAMPLES,
            hop_length=HOP_SAMPLES,
            n_mels=num_mels,
            center=False,
        )

    def forward(self, samples: Tensor, samples_valid: Tensor) -> tuple[Tensor, Tensor]:
        """Turn int16 samples, (B, N), into (B, num_mels, N / 160) and its validity, (B, N / 160)."""
        valid = samples_valid.unflatten(1, (-1, HOP_SAMPLES)).any(dim=-1)  # (B, S)
        sound = samples.float().div(32768) * samples_valid  # (B, N), in [-1, 1)
        edge = (WINDOW_SAMPLES - HOP_SAMPLES) // 2  # a window stands centred on its hop
        log_mel = (self.mel(nn.functional.pad(sound, (edge, edge))) + POWER_FLOOR).log()  # (B, M, S)
        mask = valid.unsqueeze(1)  # (B, 1, S)
        num_valid = (valid.sum(dim=-1) * log_mel.shape[1]).clamp(min=1).view(-1, 1, 1)
        level = (log_mel * mask).sum(dim=(1, 2), keepdim=True) / num_valid
        return (log_mel - level) * mask / 4, valid


class AudioBranch(nn.Module):
    """Int16 samples -> one vector per clip. Masked behind every layer, so that padding never leaks in."""

    def __init__(self, config: AudioConfig, num_outputs: int) -> None:
        super().__init__()
        self.log_mel = LogMel(config.num_mels)
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        num_inputs = 1
        self.time_strides = [2 if layer % 2 == 0 else 1 for layer in range(len(config.channels))]
        for num_channels, time_stride in zip(config.channels, self.time_strides, strict=True):
            size = 5 if num_inputs == 1 else 3
            self.convolutions.append(
                nn.Conv2d(num_inputs, num_channels, size, (2, time_stride), size // 2, bias=False)
            )
            self.norms.append(nn.LayerNorm(num_channels))
            num_inputs = num_channels
        num_bands = config.num_mels // 2 ** len(config.channels)
        self.mix = nn.Linear(num_inputs * num_bands, num_outputs)
        self.pool = AttentiveStatistics(num_outputs)
        self.project = nn.Linear(self.pool.num_outputs, num_outputs)

    def forward(self, samples: Tensor, samples_valid: Tensor) -> Tensor:
        """Embed samples, int16 (B, N), where samples_valid, (B, N), to (B, num_outputs)."""
        log_mel, valid = self.log_mel(samples, samples_valid)  # (B, M, S), (B, S)
        x = log_mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)  # (B, 1, M, S)
        for convolution, norm, time_stride in zip(
            self.convolutions, self.norms, self.time_strides, strict=True
        ):
            valid = valid.unflatten(1, (-1, time_stride)).any(dim=-1)  # (B, S / 2 or S)
            x = convolution(x)  # (B, C, M / 2, S / 2 or S)
            x = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).relu()  # over channels alone
            x = x * valid[:, None, None, :]
        x = self.mix(x.permute(0, 3, 1, 2).flatten(2)).relu()  # (B, S / 4, D)
        return self.project(self.pool(x, valid))
