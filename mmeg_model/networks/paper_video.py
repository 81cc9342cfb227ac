"""The picture's branch of `paper`: ResNet-50 on every frame (He et al. 2016, arXiv 1512.03385)."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmeg_model.ranges import require_positive

IMAGENET: Final = "imagenet"
NUM_OUTPUTS: Final = 2048
"""Features per frame, whatever the number of blocks."""
FRAMES_AT_ONCE: Final = 50
"""In evaluation; larger batches leave the processor's caches."""


@dataclass(frozen=True)
class PaperVideoConfig:
    """Sizes of the picture's branch.

    Raises:
        ValueError: if there are not four numbers of blocks, or one is not positive.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    """Bottleneck blocks in each of the four stages; these make ResNet-50, whose weights there are to be had."""

    def __post_init__(self) -> None:
        require_positive(self, "blocks")
        if len(self.blocks) != 4:
            raise ValueError(f"blocks must be four numbers, one a stage, got {self.blocks}")


class PaperVideo(nn.Module):
    """Uint8 frames -> features for each frame; zeros where a frame is not valid.

    Frames that are not valid never enter the backbone, nor its batch statistics: those are of the valid frames
    of all clips of a training batch together, so in training (alone) clips of a batch do influence each other.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: PaperVideoConfig) -> None:
        super().__init__()
        # Late, for it takes a second, which who loads another network need not wait.
        from torchvision.models.resnet import Bottleneck, ResNet

        self.backbone = ResNet(Bottleneck, list(config.blocks), num_classes=1)
        self.backbone.avgpool = nn.AvgPool2d(3)  # a frame of 96 x 96 arrives as 3 x 3
        self.backbone.fc = nn.Identity()
        self.backbone.to(memory_format=torch.channels_last)
        # What the ImageNet weights of torchvision expect of pixels in [0, 1].
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor, frames_valid: Tensor) -> Tensor:
        """Turn frames, uint8 (B, T, 96, 96, 3), where frames_valid, (B, T), into (B, T, 2048)."""
        features = torch.zeros(*frames_valid.shape, NUM_OUTPUTS, device=frames.device)
        if not frames_valid.any():
            return features
        pixels = frames[frames_valid].permute(0, 3, 1, 2)  # (N, 3, 96, 96), N valid frames in all
        parts = [pixels] if self.training else pixels.split(FRAMES_AT_ONCE)  # batch statistics are of all
        found = torch.cat(
            [self.backbone((part.float() / 255 - self.mean) / self.deviation) for part in parts]
        )
        features[frames_valid] = found.to(features.dtype)
        return features


def load_backbone_weights(backbone: nn.Module, weights: str | Path) -> None:
    """Give a ResNet trained weights; those of its last layer, which `PaperVideo` lacks, are passed over.

    Args:
        backbone: of a `PaperVideo`.
        weights: a file as torchvision publishes them (.pth, read as tensors alone) or .safetensors; or "imagenet",
            for which torchvision fetches its first ResNet-50 (the one there was in 2018) unless it has it.

    Raises:
        ValueError: if it is neither, holds anything but tensors, or a weight is missing, left over, or of another
            shape; the first one is named.
        OSError: if the file cannot be read, or not be fetched.
    """
    found = {name: weight for name, weight in _read(weights).items() if not name.startswith("fc.")}
    expected = backbone.state_dict()
    for name in [*expected, *found]:
        if name.endswith("num_batches_tracked"):  # older files lack it, and nothing here reads it
            continue
        shape, found_shape = (tuple(w[name].shape) if name in w else None for w in (expected, found))
        if shape != found_shape:
            raise ValueError(
                f"{weights} does not fit the backbone: {name} is {found_shape}, expected {shape}"
            )
    backbone.load_state_dict(found)


def _read(weights: str | Path) -> Mapping[str, Tensor]:
    if weights == IMAGENET:
        return _fetch_imagenet()
    file = Path(weights)
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if file.suffix in (".pth", ".pt"):
            state: Any = torch.load(file, map_location="cpu", weights_only=True)
        else:
            raise ValueError(
                f"backbone weights must be {IMAGENET!r}, a .safetensors or a .pth file, got {file}"
            )
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(f"{file} does not hold weights and nothing else: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file} must be a state dict, tensors by name, as torchvision publishes them")
    return state


def _fetch_imagenet() -> Mapping[str, Tensor]:
    from torchvision.models import ResNet50_Weights

    try:
        return ResNet50_Weights.IMAGENET1K_V1.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except OSError as error:
        raise OSError(
            f"the ImageNet weights cannot be fetched ({error}): give a local file instead"
        ) from error
