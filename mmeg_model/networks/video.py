"""The picture's branch of `compact`: the face of five frames a second, cut out and looked at."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmeg_model.networks.face import FACE_SIZE, FaceNetwork
from mmeg_model.networks.face_locator import FaceLocator, cut_out
from mmeg_model.networks.pooling import AttentiveStatistics
from mmeg_model.ranges import require_at_least, require_positive, require_share

FRAMES_AT_ONCE = 48
"""Larger batches leave the processor's caches: 1,200 frames at once cost up to twice as much a frame."""
_LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class VideoConfig:
    """Sizes of the picture's branch.

    Raises:
        ValueError: if there are not three channels, or a value is outside its range.
    """

    frame_stride: int = 5
    """One frame is looked at out of each group of so many (25 frames a second)."""
    channels: tuple[int, int, int] = (32, 64, 96)
    """Of the convolutions, at a half, a quarter and an eighth of the face's 48×48."""
    num_frame_features: int = 128
    """Learned ones; those of edges are beside them."""
    dropout: float = 0.3
    face_scale: float = 0.75
    """How much of the box around a face is looked at: in whole frames boxes are a quarter too large."""
    box_jitter: float = 0.12
    """In training, standard deviation of what is added to the log size of a box, the same for both sides; each side has
    half as much of its own beside, a centre moves by a quarter."""

    def __post_init__(self) -> None:
        require_positive(self, "frame_stride", "channels", "num_frame_features", "face_scale")
        require_share(self, "dropout")
        require_at_least(0, self, "box_jitter")
        if len(self.channels) != 3:
            raise ValueError(f"channels must be three numbers, one a resolution, got {self.channels}")


class VideoBranch(nn.Module):
    """Uint8 frames -> one vector per clip. Invalid frames are never looked at, and colours never."""

    luma: Tensor

    def __init__(self, config: VideoConfig, num_outputs: int) -> None:
        super().__init__()
        self.config = config
        self.locator = FaceLocator()
        self.face_network = FaceNetwork(config.channels, config.num_frame_features, config.dropout)
        self.pool = AttentiveStatistics(self.face_network.num_outputs)
        self.project = nn.Linear(self.pool.num_outputs, num_outputs)
        self.register_buffer("luma", torch.tensor(_LUMA), persistent=False)

    def forward(self, frames: Tensor, frames_valid: Tensor) -> Tensor:
        """Embed frames, uint8 (B, T, H, W, 3), where frames_valid, (B, T), to (B, num_outputs)."""
        picked, valid = self._pick(frames, frames_valid)  # (N, H, W, 3), (B, G); N frames in all
        features = torch.zeros(*valid.shape, self.face_network.num_outputs, device=frames.device)  # (B, G, D)
        if len(picked):
            parts = [self._embed(part) for part in picked.split(FRAMES_AT_ONCE)]
            features = features.masked_scatter(valid.unsqueeze(-1), torch.cat(parts).to(features.dtype))
        return self.project(self.pool(features, valid))

    def _embed(self, frames: Tensor) -> Tensor:
        """Embed frames, (N, H, W, 3), to (N, D)."""
        luma = frames.float() @ self.luma  # (N, H, W)
        with torch.no_grad():
            boxes = self.locator(luma)
            if self.training:
                boxes = boxes + self._jitter(len(boxes)).to(boxes)
            faces = cut_out(luma, boxes, FACE_SIZE, self.config.face_scale)
        return self.face_network(faces)

    def _jitter(self, num_boxes: int) -> Tensor:
        """Off by a random way and size, both sides alike and each by itself."""
        noise = torch.randn(num_boxes, 5) * self.config.box_jitter
        return torch.cat([noise[:, :2] / 4, noise[:, 2:3] + noise[:, 3:] / 2], dim=1)

    def _pick(self, frames: Tensor, frames_valid: Tensor) -> tuple[Tensor, Tensor]:
        """Pick the first valid frame of each group of frame_stride frames; tell which groups have one."""
        stride = self.config.frame_stride
        num_clips, num_frames = frames_valid.shape
        missing = -num_frames % stride
        groups = nn.functional.pad(frames_valid, (0, missing)).view(num_clips, -1, stride)
        valid = groups.any(dim=-1)  # (B, G)
        first = groups.int().argmax(dim=-1) + torch.arange(groups.shape[1], device=valid.device) * stride
        clip, group = valid.nonzero(as_tuple=True)
        return frames[clip, first[clip, group]], valid
