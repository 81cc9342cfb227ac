"""Which examples a training sees, and in which batches."""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmeg_model.bundle import to_tensors
from mmeg_model.clip import FRAME_RATE_HZ, Clip, pad
from mmeg_model.corpora import corpus_named
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.joint_loss import UNLABELLED
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.modalities import without_video
from mmeg_model.training.augmentation import Random, augment, crop, drop_modality, place_faces
from mmeg_model.training.config import TrainingConfig

NUM_SOUNDS: Final = 256


class Batch(NamedTuple):
    """What one process takes in one step."""

    clips: tuple[Tensor, ...]
    """The four arrays of a `ClipBatch`, as the networks take them."""
    labels: dict[str, Tensor]
    """Class numbers per task, (B,), `UNLABELLED` where there is no label."""
    teaches_faces: bool
    """Whether what looks at faces learns from it, see `TrainingConfig.faces_from_stills`."""


class TrainingBatches(Dataset[Batch]):
    """The batch of each step of a training, a function of configuration and step alone.

    So it does not matter which worker makes it, in which order, or whether the training was interrupted before.
    The clips of a step are dealt out to the processes: what they take together does not depend on their number.

    A batch is of recordings or of stills (single pictures, if a corpus of such is among the utterances): a mean
    over both would let the kind with more labels for a task drown the other.
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
        stills = [u for u in utterances if corpus_named(u.corpus).stills]
        recordings = [u for u in utterances if not corpus_named(u.corpus).stills]
        self.recordings, self.stills = _Urn(recordings), _Urn(stills)
        self.told: set[object] = set()

    def __len__(self) -> int:
        return self.config.num_epochs * self.config.steps_per_epoch

    def __getitem__(self, step: int) -> Batch:
        """Draw, change and pad the clips of a step, from 0.

        Raises:
            OSError: if ten utterances, drawn one after the other, cannot be decoded.
        """
        share = self.config.still_share if self.recordings and self.stills else float(not self.recordings)
        of_stills = math.floor((step + 1) * share) > math.floor(step * share)  # evenly over the training
        if of_stills:
            drawn = [self._draw(self.stills, random) for random in self._randoms(step)]
            # All at once, which is faster; those of other processes too, so that theirs are the same.
            placed = place_faces([clip for clip, _ in drawn], np.random.default_rng([self.config.seed, step]))
            drawn = [(clip, utterance) for clip, (_, utterance) in zip(placed, drawn, strict=True)]
            drawn = drawn[self.process :: self.num_processes]
        else:
            randoms = self._randoms(step)[self.process :: self.num_processes]
            drawn = [self._recording(random) for random in randoms]
        clips = to_tensors(pad([clip for clip, _ in drawn]), torch.device("cpu"))
        return Batch(
            clips,
            label_tensors([utterance for _, utterance in drawn]),
            teaches_faces=of_stills or not (self.config.faces_from_stills and self.stills),
        )

    def _randoms(self, step: int) -> list[Random]:
        """Of each example of a step: counted through the whole training."""
        first = step * self.config.batch_size
        return [
            np.random.default_rng([self.config.seed, number])
            for number in range(first, first + self.config.batch_size)
        ]

    def _recording(self, random: Random) -> tuple[Clip, Utterance]:
        clip, utterance = self._draw(self.recordings, random)
        clip = crop(clip, round(self.config.crop_seconds * FRAME_RATE_HZ), random)
        clip = drop_modality(clip, self.config.modality_dropout, random)
        return augment(clip, random) if random.random() < self.config.augmentation else clip, utterance

    def _draw(self, drawn_from: "_Urn", random: Random) -> tuple[Clip, Utterance]:
        for _ in range(10):
            utterance = drawn_from.draw(random)
            try:
                return load_clip(utterance, cache=self.cache), utterance
            except ValueError as error:
                if (place := (utterance.path, utterance.part)) not in self.told:
                    print(f"left out, another is drawn instead: {error}", file=sys.stderr)
                    self.told.add(place)
        raise OSError("ten utterances one after the other cannot be decoded; those tried are named above")


class _Urn:
    """Utterances to draw from."""

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self.utterances = utterances
        self.cumulative = sampling_weights(utterances).cumsum()

    def __len__(self) -> int:
        return len(self.utterances)

    def draw(self, random: Random) -> Utterance:
        return self.utterances[int(np.searchsorted(self.cumulative[:-1], random.random(), side="right"))]


def sounds(utterances: Sequence[Utterance], config: TrainingConfig, *, cache: Path) -> tuple[Tensor, Tensor]:
    """Samples of recordings as they are, (N, T), and which of them are valid; at most `NUM_SOUNDS`, drawn by chance.

    Who cannot be decoded is passed over.
    """
    recordings = [u for u in utterances if not corpus_named(u.corpus).stills]
    random = np.random.default_rng(config.seed)
    clips: list[Clip] = []
    for number in random.permutation(len(recordings)):
        if len(clips) == NUM_SOUNDS:
            break
        with suppress(ValueError):
            clip = load_clip(recordings[number], cache=cache)
            if clip.has_audio:
                clips.append(without_video(crop(clip, round(config.crop_seconds * FRAME_RATE_HZ), random)))
    if not clips:
        return torch.zeros(0, 0, dtype=torch.int16), torch.zeros(0, 0, dtype=torch.bool)
    batch = pad(clips)
    return torch.from_numpy(batch.samples), torch.from_numpy(batch.samples_valid)


def decodable(utterances: Sequence[Utterance], *, cache: Path) -> list[Utterance]:
    """Those that can be decoded; the others are named on stderr.

    Raises:
        OSError: if none can.
    """
    found = []
    for utterance in utterances:
        try:
            load_clip(utterance, cache=cache)
        except ValueError as error:
            print(f"left out of validation: {error}", file=sys.stderr)
        else:
            found.append(utterance)
    if utterances and not found:
        raise OSError(
            f"none of {len(utterances)} utterances for validation can be decoded, they are named above"
        )
    return found


def batch_loader(batches: TrainingBatches, *, first_step: int, num_workers: int) -> DataLoader[Batch]:
    """Make the batches from a step on, ahead of the training if there are workers (processes)."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),
        num_workers=num_workers,
        # Not forked, since the training may have threads and a GPU; and not by a server, whose children would live on
        # when the training is killed.
        multiprocessing_context="spawn" if num_workers else None,
        prefetch_factor=4 if num_workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def sampling_weights(utterances: Sequence[Utterance]) -> NDArray[np.float64]:
    """How often each utterance is drawn, summing to 1.

    Corpora are drawn in proportion to their number of speakers (those of stills to that of the pictures), the
    emotions and perceived genders of a corpus equally often.
    """
    cells = [(u.corpus, u.emotion, u.perceived_gender) for u in utterances]
    cell_sizes = Counter(cells)
    cells_of_corpus = Counter(corpus for corpus, *_ in cell_sizes)
    num_speakers = Counter(corpus for corpus, _ in {(u.corpus, u.speaker) for u in utterances})
    weights = np.array(
        [num_speakers[cell[0]] / cells_of_corpus[cell[0]] / cell_sizes[cell] for cell in cells]
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
