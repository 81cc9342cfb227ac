"""What a network says of labelled utterances, with each set of modalities that they have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

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

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, chosen: NDArray[np.bool_]) -> "Predictions":
        """Those of the clips that are chosen, (N,)."""
        return Predictions(*(column[chosen] for column in vars(self).values()))


def join(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of one task after each other, such as those of the folds of a cross-validation."""
    return Predictions(
        *(np.concatenate(columns) for columns in zip(*(vars(p).values() for p in parts), strict=True))
    )


@torch.inference_mode()
def predict(network: nn.Module, utterances: Sequence[Utterance], *, cache: Path) -> dict[str, Predictions]:
    """Run a network in evaluation mode over utterances; predictions per task, what is labelled for it."""
    device = next(network.parameters()).device
    network.eval()
    rows: list[tuple[Utterance, str]] = []
    logits: dict[str, list[torch.Tensor]] = {task: [] for task in LABELS_BY_TASK}
    variants = _variants(utterances, cache)
    while batch := list(islice(variants, BATCH_SIZE)):
        rows += [(utterance, modalities) for utterance, modalities, _ in batch]
        for task, of_batch in network(*to_tensors(pad([clip for *_, clip in batch]), device)).items():
            logits[task].append(of_batch.float().cpu())
    return {task: _of_task(task, torch.cat(logits[task]).numpy(), rows) for task in LABELS_BY_TASK}


def _variants(utterances: Sequence[Utterance], cache: Path) -> Iterator[tuple[Utterance, str, Clip]]:
    for utterance in utterances:
        for modalities, clip in by_modalities(load_clip(utterance, cache=cache)):
            yield utterance, modalities, clip


def _of_task(task: str, logits: NDArray[np.float32], rows: Sequence[tuple[Utterance, str]]) -> Predictions:
    labelled = [i for i, (utterance, _) in enumerate(rows) if utterance.labels[task] is not None]
    class_numbers = {label: number for number, label in enumerate(LABELS_BY_TASK[task])}
    return Predictions(
        logits[labelled],
        np.array([class_numbers[str(rows[i][0].labels[task])] for i in labelled], np.int64),
        np.array([rows[i][0].speaker for i in labelled], np.str_),
        np.array([rows[i][0].corpus for i in labelled], np.str_),
        np.array([rows[i][1] for i in labelled], np.str_),
    )
