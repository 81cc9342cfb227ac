"""The network of Chae et al. 2018 (arXiv 1809.00758), in the shapes of the authors' published code."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from mmeg_model.clip import SAMPLES_PER_FRAME
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.paper_audio import PaperAudio, PaperAudioConfig
from mmeg_model.networks.paper_video import NUM_OUTPUTS, PaperVideo, PaperVideoConfig
from mmeg_model.ranges import require_positive, require_share


@dataclass(frozen=True)
class PaperConfig:
    """Sizes of `paper`; a bundle stores them.

    Raises:
        ValueError: if a value is outside its range.
    """

    audio: PaperAudioConfig = field(default_factory=PaperAudioConfig)
    video: PaperVideoConfig = field(default_factory=PaperVideoConfig)
    hidden_size: int = 256
    num_layers: int = 2
    dropout: float = 0.5

    def __post_init__(self) -> None:
        require_positive(self, "hidden_size", "num_layers")
        require_share(self, "dropout")


class PaperNetwork(nn.Module):
    """Features of sound and picture beside each other, frame by frame; an LSTM over time; one head a task.

    The authors know no clip without sound or without picture. Here, what a frame lacks of the picture is zeros
    in its part of the features, and a clip with less than 40 ms of sound has zeros in the sound's: what their
    concatenation suggests, and what modality dropout lets the LSTM learn. Zeros are no mask, though: without
    that dropout, expect little of such a clip.

    In evaluation a clip's logits depend on neither its neighbours nor padding. A clip ends with its last valid
    frame or sample.
    """

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.audio = PaperAudio(config.audio)
        self.video = PaperVideo(config.video)
        num_features = config.audio.num_outputs + NUM_OUTPUTS
        self.lstm = nn.LSTM(num_features, config.hidden_size, config.num_layers, batch_first=True)
        for name, weight in self.lstm.named_parameters():
            if name.startswith("weight"):
                nn.init.xavier_normal_(weight)
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.ModuleDict(
            {task: nn.Linear(config.hidden_size, len(labels)) for task, labels in LABELS_BY_TASK.items()}
        )

    def forward(
        self, frames: Tensor, frames_valid: Tensor, samples: Tensor, samples_valid: Tensor
    ) -> dict[str, Tensor]:
        """Logits per task, (B, labels), of a batch as `ClipBatch` holds it."""
        num_frames = _num_frames(frames_valid, samples_valid)  # (B,)
        has_audio = samples_valid.sum(dim=1) >= SAMPLES_PER_FRAME  # (B,), as `ClipBatch.has_audio`
        audio = self.audio(samples, samples_valid, num_frames) * has_audio.view(-1, 1, 1)  # (B, T, 1280)
        video = self.video(frames, frames_valid)  # (B, T, 2048)
        features = torch.cat([audio, video], dim=-1)  # (B, T, 3328)
        packed = pack_padded_sequence(features, num_frames.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.lstm(packed)  # (layers, B, 256), each clip's behind its last frame
        last = self.dropout(hidden[-1])  # (B, 256)
        return {task: head(last) for task, head in self.heads.items()}


def _num_frames(frames_valid: Tensor, samples_valid: Tensor) -> Tensor:
    """Frames until the last one with anything valid, (B,); at least 1, for a sequence has no length of 0."""
    valid = frames_valid | samples_valid.unflatten(1, (-1, SAMPLES_PER_FRAME)).any(dim=-1)  # (B, T)
    numbers = torch.arange(1, valid.shape[1] + 1, device=valid.device)
    return (valid * numbers).amax(dim=1).clamp(min=1)
