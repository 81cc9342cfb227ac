"""The preset for processors without a GPU and for little data."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmeg_model.clip import SAMPLES_PER_FRAME
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.audio import AudioBranch, AudioConfig
from mmeg_model.networks.fusion import GatedFusion
from mmeg_model.networks.video import VideoBranch, VideoConfig


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of `compact`; a bundle stores them."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    num_features: int = 256
    """Of the vector that each modality gives and that the heads read."""
    dropout: float = 0.5


class CompactNetwork(nn.Module):
    """Sound and picture each become a vector; those that are there are fused; one head a task.

    Nothing mixes clips of a batch, and what is not valid is masked, not zero-filled and hoped for: a clip's
    logits depend on neither its neighbours nor padding. A clip without a valid modality gets the biases.
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.audio = AudioBranch(config.audio, config.num_features)
        self.video = VideoBranch(config.video, config.num_features)
        self.fusion = GatedFusion(config.num_features)
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.ModuleDict(
            {task: nn.Linear(config.num_features, len(labels)) for task, labels in LABELS_BY_TASK.items()}
        )

    def forward(
        self, frames: Tensor, frames_valid: Tensor, samples: Tensor, samples_valid: Tensor
    ) -> dict[str, Tensor]:
        """Logits per task, (B, labels), of a batch as `ClipBatch` holds it."""
        present = torch.stack(
            [samples_valid.sum(dim=1) >= SAMPLES_PER_FRAME, frames_valid.any(dim=1)], dim=1
        )  # (B, 2), as `ClipBatch.has_audio` and `has_video`
        vectors = torch.stack(
            [self.audio(samples, samples_valid), self.video(frames, frames_valid)], dim=1
        )  # (B, 2, D)
        fused = self.dropout(self.fusion(vectors, present))  # (B, D)
        return {task: head(fused) for task, head in self.heads.items()}
