"""What a network says of labelled utterances, with each set of modalities that they have."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmeg_model.bundle import to_tensors
from mmeg_model.clip import Clip, pad
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.modalities import by_modalities

BATCH_SIZE: Final = 16
"""Clips at once; decides memory and speed, not results."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits and labels of one task for N clips; an utterance stands here once a set of modalities."""

    logits: NDArray[np.float32]
    """(N, labels)."""
    labels: NDArray[np.int64]
    """(N,), class numbers. What is not labelled is not here."""
    speakers: NDArray[np.str_]
    """(N,)."""
    corpora: NDArray[np.str_]
    """(N,)."""
    modalities: NDArray[np.str_]
    """(N,): what the network was given: audio+video, audio or video."""
    clips: NDArray[np.str_] | None = None
    """(N,): of which utterance a row is, by the same name in all tasks; None: not known."""

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.integer]) -> "Predictions":
        """The rows that are chosen, by a mask, (N,), or by their numbers in the order wanted."""
        columns: dict[str, Any] = {name: c for name, c in vars(self).items() if c is not None}
        return Predictions(**{name: column[chosen] for name, column in columns.items()})


def join(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of one task after each other, such as those of the folds of a cross-validation."""
    columns: dict[str, Any] = {
        name: [vars(part)[name] for part in parts] for name in Predictions.__dataclass_fields__
    }
    if any(clips is None for clips in columns["clips"]):
        del columns["clips"]
    return Predictions(**{name: np.concatenate(of_parts) for name, of_parts in columns.items()})


def labelled_for_all(predictions: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """Of each task the rows of clips that are labelled for every task, in the same order in all of them.

    Raises:
        ValueError: if the clips of a task are not known.
    """
    keys = {
        task: np.char.add(np.char.add(_clips(task, of), "\n"), of.modalities)
        for task, of in predictions.items()
    }
    common = reduce(np.intersect1d, keys.values())
    chosen = {}
    for task, of_task in predictions.items():
        sorted_keys, first = np.unique(keys[task], return_index=True)
        chosen[task] = of_task.where(first[np.isin(sorted_keys, common)])
    return chosen


def perceived_genders(predictions: Mapping[str, Predictions]) -> dict[str, NDArray[np.str_]]:
    """Per task, for each of its rows, (N,), the perceived gender that the clip is labelled with, "" if with none.

    Raises:
        ValueError: if the clips of a task are not known.
    """
    labels = np.array(LABELS_BY_TASK["gender"])[predictions["gender"].labels]
    of_clip = dict(zip(_clips("gender", predictions["gender"]), labels, strict=True))
    return {
        task: np.array([of_clip.get(clip, "") for clip in _clips(task, of_task)], np.str_)
        for task, of_task in predictions.items()
    }


def _clips(task: str, predictions: Predictions) -> NDArray[np.str_]:
    if predictions.clips is None:
        raise ValueError(
            f"of which clips the predictions of {task} are must be known to set tasks side by side"
        )
    return predictions.clips


def predict(network: nn.Module, utterances: Sequence[Utterance], *, cache: Path) -> dict[str, Predictions]:
    """Run a network in evaluation mode over utterances; predictions per task, what is labelled for it.

    Raises:
        ValueError: if a file cannot be decoded, see `load_clip`.
    """
    return predict_clips(
        network, ((utterance, load_clip(utterance, cache=cache)) for utterance in utterances)
    )


@torch.inference_mode()
def predict_clips(network: nn.Module, clips: Iterable[tuple[Utterance, Clip]]) -> dict[str, Predictions]:
    """As `predict`, of clips that are decoded already."""
    device = next(network.parameters()).device
    network.eval()
    rows: list[tuple[Utterance, str]] = []
    logits = {task: [torch.empty(0, len(labels))] for task, labels in LABELS_BY_TASK.items()}
    variants = _variants(clips)
    while batch := list(islice(variants, BATCH_SIZE)):
        rows += [(utterance, modalities) for utterance, modalities, _ in batch]
        for task, of_batch in network(*to_tensors(pad([clip for *_, clip in batch]), device)).items():
            logits[task].append(of_batch.float().cpu())
    return {task: _of_task(task, torch.cat(logits[task]).numpy(), rows) for task in LABELS_BY_TASK}


def _variants(clips: Iterable[tuple[Utterance, Clip]]) -> Iterator[tuple[Utterance, str, Clip]]:
    for utterance, clip in clips:
        for modalities, given in by_modalities(clip):
            yield utterance, modalities, given


def _of_task(task: str, logits: NDArray[np.float32], rows: Sequence[tuple[Utterance, str]]) -> Predictions:
    labelled = [i for i, (utterance, _) in enumerate(rows) if utterance.labels[task] is not None]
    class_numbers = {label: number for number, label in enumerate(LABELS_BY_TASK[task])}
    return Predictions(
        logits[labelled],
        np.array([class_numbers[str(rows[i][0].labels[task])] for i in labelled], np.int64),
        np.array([rows[i][0].speaker for i in labelled], np.str_),
        np.array([rows[i][0].corpus for i in labelled], np.str_),
        np.array([rows[i][1] for i in labelled], np.str_),
        np.array([_name(rows[i][0]) for i in labelled], np.str_),
    )


def _name(utterance: Utterance) -> str:
    return hashlib.blake2b(repr(utterance).encode(), digest_size=8).hexdigest()
