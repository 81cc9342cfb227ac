"""The picture's branch of `compact`: a small convolutional network per frame, five frames a second."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmeg_model.networks.pooling import AttentiveStatistics

FRAMES_AT_ONCE = 48
"""Larger batches leave the processor's caches: 1,200 frames at once cost up to twice as much a frame."""


@dataclass(frozen=True)
class VideoConfig:
    """Sizes of the picture's branch."""

    frame_stride: int = 5
    """One frame is looked at out of each group of so many (25 frames a second)."""
    channels: tuple[int, ...] = (16, 32, 64, 96, 128)
    """Of the convolutions, each of stride 2."""


class VideoBranch(nn.Module):
    """Uint8 frames -> one vector per clip. Invalid frames are never looked at."""

    def __init__(self, config: VideoConfig, num_outputs: int) -> None:
        super().__init__()
        self.frame_stride = config.frame_stride
        layers: list[nn.Module] = []
        num_inputs = 3
        for num_channels in config.channels:
            # Group statistics are one frame's own: nothing of the batch, nothing of other times.
            layers += [
                nn.Conv2d(num_inputs, num_channels, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(max(1, num_channels // 16), num_channels),
                nn.ReLU(),
            ]
            num_inputs = num_channels
        self.frame_network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.pool = AttentiveStatistics(num_inputs)
        self.project = nn.Linear(self.pool.num_outputs, num_outputs)

    def forward(self, frames: Tensor, frames_valid: Tensor) -> Tensor:
        """Embed frames, uint8 (B, T, H, W, 3), where frames_valid, (B, T), to (B, num_outputs)."""
        picked, valid = self._pick(frames, frames_valid)  # (N, H, W, 3), (B, G); N frames in all
        pictures = picked.permute(0, 3, 1, 2).float().div(127.5).sub(1)  # (N, 3, H, W), in [-1, 1]
        features = torch.zeros(*valid.shape, self.project.in_features // 2, device=frames.device)  # (B, G, D)
        if len(pictures):
            parts = [self.frame_network(part) for part in pictures.split(FRAMES_AT_ONCE)]
            features = features.masked_scatter(valid.unsqueeze(-1), torch.cat(parts).to(features.dtype))
        return self.project(self.pool(features, valid))

    def _pick(self, frames: Tensor, frames_valid: Tensor) -> tuple[Tensor, Tensor]:
        """Pick the first valid frame of each group of frame_stride frames; tell which groups have one."""
        num_clips, num_frames = frames_valid.shape
        missing = -num_frames % self.frame_stride
        groups = nn.functional.pad(frames_valid, (0, missing)).view(num_clips, -1, self.frame_stride)
        valid = groups.any(dim=-1)  # (B, G)
        first = (
            groups.int().argmax(dim=-1)
            + torch.arange(groups.shape[1], device=valid.device) * self.frame_stride
        )
        clip, group = valid.nonzero(as_tuple=True)
        return frames[clip, first[clip, group]], valid
