"""The preset for processors without a GPU and for little data."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmeg_model.clip import SAMPLES_PER_FRAME
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.audio import AudioBranch, AudioConfig
from mmeg_model.networks.fusion import Evidence
from mmeg_model.networks.video import VideoBranch, VideoConfig
from mmeg_model.ranges import require_positive, require_share


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of `compact`; a bundle stores them.

    Raises:
        ValueError: if a value is outside its range.
    """

    audio: AudioConfig = field(default_factory=AudioConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    num_features: int = 256
    """Of the vector that each modality gives and that the heads read."""
    dropout: float = 0.5

    def __post_init__(self) -> None:
        require_positive(self, "num_features")
        require_share(self, "dropout")


class CompactNetwork(nn.Module):
    """Sound and picture each become a vector; what they say of each task, where they are there, adds up.

    Nothing mixes clips of a batch, and what is not valid is never looked at: a clip's logits depend on neither its
    neighbours nor padding. A clip without a valid modality gets zeros. A modality that no clip of a batch has takes
    no part in a training step: its weights get no gradient, rather than one of zero.
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        num_labels = {task: len(labels) for task, labels in LABELS_BY_TASK.items()}
        self.audio = AudioBranch(config.audio, config.num_features)
        self.video = VideoBranch(config.video, config.num_features)
        self.said_by_audio, self.said_by_video = (
            Evidence(config.num_features, num_labels, config.dropout) for _ in range(2)
        )

    def forward(
        self, frames: Tensor, frames_valid: Tensor, samples: Tensor, samples_valid: Tensor
    ) -> dict[str, Tensor]:
        """Logits per task, (B, labels), of a batch as `ClipBatch` holds it."""
        logits = {
            task: torch.zeros(len(frames), len(labels), device=frames.device)
            for task, labels in LABELS_BY_TASK.items()
        }
        # As `ClipBatch.has_audio` and `has_video`.
        has_audio, has_video = samples_valid.sum(dim=1) >= SAMPLES_PER_FRAME, frames_valid.any(dim=1)
        for branch, evidence, present, values, valid in (
            (self.audio, self.said_by_audio, has_audio, samples, samples_valid),
            (self.video, self.said_by_video, has_video, frames, frames_valid),
        ):
            if present.any():
                rows = present.nonzero().squeeze(1)
                for task, said in evidence(branch(values[rows], valid[rows])).items():
                    logits[task] = logits[task].index_add(0, rows, said.to(logits[task].dtype))
        return logits

    def measure(self, samples: Tensor, samples_valid: Tensor) -> None:
        """Find out how features of sound lie and spread, before a training; of at least two clips with sound."""
        self.audio.measure(samples, samples_valid)
