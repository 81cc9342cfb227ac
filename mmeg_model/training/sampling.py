"""Which examples a training sees, and in which batches."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmeg_model.clip import FRAME_RATE_HZ, ClipBatch, pad
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.joint_loss import UNLABELLED
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.training.augmentation import Random, augment, crop, drop_modality
from mmeg_model.training.config import TrainingConfig


def sampling_weights(utterances: Sequence[Utterance]) -> NDArray[np.float64]:
    """How often each utterance is drawn, summing to 1.

    Corpora are drawn in proportion to the square root of their size, the emotions and perceived genders of a
    corpus equally often.
    """
    cells = [(u.corpus, u.emotion, u.perceived_gender) for u in utterances]
    cell_sizes, corpus_sizes = Counter(cells), Counter(u.corpus for u in utterances)
    cells_of_corpus = Counter(corpus for corpus, *_ in cell_sizes)
    weights = np.array(
        [corpus_sizes[cell[0]] ** 0.5 / cells_of_corpus[cell[0]] / cell_sizes[cell] for cell in cells]
    )
    return weights / weights.sum()


def training_batches(
    utterances: Sequence[Utterance], config: TrainingConfig, random: Random, *, cache: Path
) -> Iterator[tuple[ClipBatch, dict[str, Tensor]]]:
    """Draw one epoch of augmented examples, in batches with their labels."""
    drawn = random.choice(len(utterances), config.clips_per_epoch, p=sampling_weights(utterances))
    max_frames = round(config.crop_seconds * FRAME_RATE_HZ)
    for start in range(0, len(drawn), config.batch_size):
        batch = [utterances[i] for i in drawn[start : start + config.batch_size]]
        clips = [load_clip(u, cache=cache) for u in batch]
        clips = [
            drop_modality(crop(clip, max_frames, random), config.modality_dropout, random) for clip in clips
        ]
        clips = [augment(clip, random) if random.random() < config.augmentation else clip for clip in clips]
        yield pad(clips), label_tensors(batch)


def label_tensors(utterances: Sequence[Utterance]) -> dict[str, Tensor]:
    """Class numbers per task, (B,), `UNLABELLED` where there is no label."""
    return {
        task: torch.tensor(
            [UNLABELLED if (label := u.labels[task]) is None else labels.index(label) for u in utterances]
        )
        for task, labels in LABELS_BY_TASK.items()
    }
