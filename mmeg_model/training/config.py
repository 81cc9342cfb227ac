"""What a training is: every choice in one frozen record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from mmeg_model.clip import FRAME_RATE_HZ
from mmeg_model.nearest import unknown
from mmeg_model.networks.paper_video import IMAGENET
from mmeg_model.plain_values import from_plain
from mmeg_model.ranges import require_at_least, require_positive, require_share

PRECISIONS: Final = ("no", "bf16")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The choices of one training; a checkpoint stores them.

    Raises:
        ValueError: if a value is outside its range.
    """

    preset: str = "compact"
    sizes: dict[str, Any] = field(default_factory=dict)
    """Of the network, where they differ from the preset's."""
    backbone_weights: str = ""
    """Of `paper`'s ResNet-50 at the start: a file, or `imagenet` for torchvision's; none if empty."""
    weighting: str = "uniform"
    weighting_arguments: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    num_epochs: int = 14
    clips_per_epoch: int = 1024
    """Drawn with replacement, see `mmeg_model.training.sampling`; rounded up to whole batches."""
    still_share: float = 0.9
    """Of the steps are of single pictures, if there are corpora of such beside recordings."""
    faces_from_stills: bool = False
    """What looks at faces learns from single pictures alone, if there are corpora of such: of few people in
    recordings it would learn who they are. What is made of its features learns from all."""
    batch_size: int = 32
    """Of all processes together."""
    learning_rate: float = 3e-3
    """The highest of the schedule, which rises over a tenth of the training and falls to 0 as a cosine."""
    weight_decay: float = 1e-2
    max_gradient_norm: float = 1.0
    average_decay: float = 0.98
    """What is validated and kept is a moving average of the weights with this decay a step; 0 is none."""
    patience: int = 12
    """Epochs without a better validation loss before the training ends."""
    crop_seconds: float = 4.0
    """A longer clip is cut to a random part of this length."""
    augmentation: float = 0.3
    """How often a clip is changed by `mmeg_model.training.augmentation`; 0 is never, 1 always."""
    modality_dropout: float = 0.3
    """How often a clip with sound and picture loses its sound, and as often its picture."""
    mixed_precision: str = "no"
    """`bf16`: products in bfloat16, sums and weights in float32. `no`: all in float32."""

    def __post_init__(self) -> None:
        require_positive(
            self,
            "num_epochs",
            "clips_per_epoch",
            "batch_size",
            "learning_rate",
            "max_gradient_norm",
            "patience",
        )
        require_at_least(0, self, "weight_decay")
        require_share(self, "still_share", "average_decay")
        if not 1 / FRAME_RATE_HZ <= self.crop_seconds < math.inf:
            raise ValueError(
                f"crop_seconds must be at least {1 / FRAME_RATE_HZ}, a frame, and finite, got {self.crop_seconds}"
            )
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2^63), got {self.seed}")
        if self.backbone_weights and self.preset != "paper":
            raise ValueError(
                f"backbone_weights are of the preset 'paper', not of {self.preset!r}: take them out"
            )
        if self.faces_from_stills and self.preset != "compact":
            raise ValueError(
                f"faces_from_stills is of the preset 'compact', not of {self.preset!r}: take it out"
            )
        if self.mixed_precision not in PRECISIONS:
            raise ValueError(unknown("mixed_precision", self.mixed_precision, PRECISIONS))
        if not 0 <= self.modality_dropout <= 0.5:
            raise ValueError(f"modality_dropout must be in [0, 0.5], got {self.modality_dropout}")
        if not 0 <= self.augmentation <= 1:
            raise ValueError(f"augmentation must be in [0, 1], got {self.augmentation}")

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.clips_per_epoch / self.batch_size)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], *, folder: Path | None = None) -> Self:
        """Make one from plain values, as TOML gives them.

        Args:
            values: by name.
            folder: what the file of the backbone's weights is relative to.

        Raises:
            ValueError: if a name is no choice (the message says which are near), or a value is of another type or
                outside its range.
        """
        config = from_plain(cls, values, table="training", kind="training choice")
        if folder is None or config.backbone_weights in ("", IMAGENET):
            return config
        return replace(config, backbone_weights=str(folder / config.backbone_weights))
