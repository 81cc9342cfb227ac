"""The sound's branch of `paper`: two convolutions over the samples themselves (Chae et al. 2018, AudioNet)."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from mmeg_model.clip import SAMPLES_PER_FRAME
from mmeg_model.networks.long_convolution import LongConvolution
from mmeg_model.ranges import require_positive

POSITIONS_PER_FRAME: Final = SAMPLES_PER_FRAME // 2
"""What the pooling behind the first convolution leaves of the samples of a frame."""
DEVIATION_FLOOR: Final = 1e-3
"""Of full scale, -60 dB: fainter sound than this is not blown up to the loudness of speech."""


@dataclass(frozen=True)
class PaperAudioConfig:
    """Sizes of the sound's branch.

    Raises:
        ValueError: if a value is not positive, or the channels cannot be pooled without a rest.
    """

    channels: int = 40
    """Of both convolutions."""
    short_kernel: int = 80
    """Taps of the first convolution, 5 ms."""
    long_kernel: int = 4000
    """Taps of the second convolution, 500 ms."""
    pooled_channels: int = 10
    """How many neighbouring channels become one, their maximum."""

    def __post_init__(self) -> None:
        require_positive(self, "channels", "short_kernel", "long_kernel", "pooled_channels")
        if self.channels % self.pooled_channels:
            raise ValueError(
                f"channels ({self.channels}) must be a multiple of pooled_channels ({self.pooled_channels})"
            )

    @property
    def num_outputs(self) -> int:
        """Features per frame."""
        return POSITIONS_PER_FRAME * (self.channels // self.pooled_channels)


class PaperAudio(nn.Module):
    """Int16 samples -> features for each frame. No activation between the convolutions: the authors have none."""

    def __init__(self, config: PaperAudioConfig) -> None:
        super().__init__()
        self.pad = nn.ZeroPad1d(_around(config.short_kernel))
        self.short = nn.Conv1d(1, config.channels, config.short_kernel)
        self.pool_time = nn.MaxPool1d(2)
        self.long = LongConvolution(
            config.channels, config.channels, config.long_kernel, padding=_around(config.long_kernel)
        )
        self.pool_channels = nn.MaxPool1d(config.pooled_channels)

    def forward(self, samples: Tensor, samples_valid: Tensor, num_frames: Tensor) -> Tensor:
        """Turn samples, int16 (B, T * 640), where samples_valid, into (B, T, num_outputs).

        Args:
            samples: zero where not valid.
            samples_valid: (B, T * 640).
            num_frames: (B,), of each clip, in [1, T]. Behind them is padding: the second convolution, which sees
                250 ms ahead, finds zeros there, as at the end of a clip that is alone.
        """
        sound = standardise(samples, samples_valid).unsqueeze(1)  # (B, 1, T * 640)
        x = self.pool_time(self.short(self.pad(sound)))  # (B, C, T * 320)
        positions = torch.arange(x.shape[-1], device=x.device)
        x = x * (positions < POSITIONS_PER_FRAME * num_frames.unsqueeze(-1)).unsqueeze(1)
        x = self.pool_channels(self.long(x).transpose(1, 2))  # (B, T * 320, C / 10)
        return x.unflatten(1, (-1, POSITIONS_PER_FRAME)).flatten(2)  # (B, T, 320 * C / 10)


def standardise(samples: Tensor, samples_valid: Tensor) -> Tensor:
    """Shift and scale each clip's valid samples to mean 0 and standard deviation 1; zero elsewhere.

    The authors divide by the variance, so that of two recordings the fainter one comes out as the louder.
    """
    sound = samples.float().div(32768) * samples_valid  # (B, N), in [-1, 1)
    num_valid = samples_valid.sum(dim=-1, keepdim=True).clamp(min=1)
    around_mean = (sound - sound.sum(dim=-1, keepdim=True) / num_valid) * samples_valid
    deviation = (around_mean.square().sum(dim=-1, keepdim=True) / num_valid).sqrt()
    return around_mean / (deviation + DEVIATION_FLOOR)


def _around(kernel_size: int) -> tuple[int, int]:
    """Zeros before and behind that keep the length; an even kernel has the odd one before."""
    return kernel_size // 2, kernel_size - 1 - kernel_size // 2
