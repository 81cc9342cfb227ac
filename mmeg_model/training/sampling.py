"""Which examples a training sees, and in which batches."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmeg_model.bundle import to_tensors
from mmeg_model.clip import FRAME_RATE_HZ, Clip, pad
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.joint_loss import UNLABELLED
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.training.augmentation import augment, crop, drop_modality
from mmeg_model.training.config import TrainingConfig


class Batch(NamedTuple):
    """What one process takes in one step."""

    clips: tuple[Tensor, ...]
    """The four arrays of a `ClipBatch`, as the networks take them."""
    labels: dict[str, Tensor]
    """Class numbers per task, (B,), `UNLABELLED` where there is no label."""


class TrainingBatches(Dataset[Batch]):
    """The batch of each step of a training, a function of configuration and step alone.

    So it does not matter which worker makes it, in which order, or whether the training was interrupted before.
    The clips of a step are dealt out to the processes: what they take together does not depend on their number.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        config: TrainingConfig,
        *,
        cache: Path,
        process: int = 0,
        num_processes: int = 1,
    ) -> None:
        """Batches of one process among several; cache as of `load_clip`."""
        self.utterances = utterances
        self.config = config
        self.cache = cache
        self.process = process
        self.num_processes = num_processes
        self.cumulative = sampling_weights(utterances).cumsum()
        self.told: set[Path] = set()

    def __len__(self) -> int:
        return self.config.num_epochs * self.config.steps_per_epoch

    def __getitem__(self, step: int) -> Batch:
        """Draw, change and pad the clips of a step, from 0.

        Raises:
            ValueError: if ten utterances, drawn one after the other, cannot be decoded.
        """
        drawn = [
            self._example(step * self.config.batch_size + place)
            for place in range(self.process, self.config.batch_size, self.num_processes)
        ]
        clips = to_tensors(pad([clip for clip, _ in drawn]), torch.device("cpu"))
        return Batch(clips, label_tensors([utterance for _, utterance in drawn]))

    def _example(self, number: int) -> tuple[Clip, Utterance]:
        """The example of that number, counted through the whole training."""
        config = self.config
        random = np.random.default_rng([config.seed, number])
        for _ in range(10):
            drawn = int(np.searchsorted(self.cumulative[:-1], random.random(), side="right"))
            utterance = self.utterances[drawn]
            try:
                clip = load_clip(utterance, cache=self.cache)
                break
            except (ValueError, OSError) as error:
                if utterance.path not in self.told:
                    print(f"left out, another is drawn instead: {error}", file=sys.stderr)
                    self.told.add(utterance.path)
        else:
            raise ValueError(
                "ten utterances one after the other cannot be decoded; those tried are named above"
            )
        clip = crop(clip, round(config.crop_seconds * FRAME_RATE_HZ), random)
        clip = drop_modality(clip, config.modality_dropout, random)
        return augment(clip, random) if random.random() < config.augmentation else clip, utterance


def batch_loader(batches: TrainingBatches, *, first_step: int, num_workers: int) -> DataLoader[Batch]:
    """Make the batches from a step on, ahead of the training if there are workers (processes)."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),
        num_workers=num_workers,
        # Not forked: the training may have threads, and a GPU.
        multiprocessing_context="forkserver" if num_workers else None,
        prefetch_factor=4 if num_workers else None,
        pin_memory=torch.cuda.is_available(),
    )


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


def label_tensors(utterances: Sequence[Utterance]) -> dict[str, Tensor]:
    """Class numbers per task, (B,), `UNLABELLED` where there is no label."""
    return {
        task: torch.tensor(
            [UNLABELLED if (label := u.labels[task]) is None else labels.index(label) for u in utterances]
        )
        for task, labels in LABELS_BY_TASK.items()
    }
