"""The figures of an evaluation, each next to what knowing nothing would give."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmeg_model.evaluation.bootstrap import speaker_interval
from mmeg_model.evaluation.metrics import (
    accuracy,
    confusion_by_speaker,
    expected_calibration_error,
    negative_log_likelihoods,
    unweighted_average_recall,
)
from mmeg_model.evaluation.predictions import Predictions

ALL_CORPORA = "all"


@dataclass(frozen=True)
class Figures:
    """How well one task went on one corpus (or `all`) with one set of modalities."""

    task: str
    corpus: str
    modalities: str
    num_clips: int
    num_speakers: int
    unweighted_average_recall: float
    """Over the clips of all speakers together."""
    interval: tuple[float, float]
    """Of the unweighted average recall: 95 %, bootstrap over speakers."""
    unweighted_average_recall_per_speaker: tuple[float, float]
    """Mean and standard deviation over speakers, each by their own clips."""
    chance: float
    """The unweighted average recall of guessing, and of always saying the same: 1 / labels that occur."""
    accuracy: float
    constant_accuracy: float
    """Of always saying what is most frequent among these very clips."""
    negative_log_likelihood: float
    """In nats."""
    calibration_error: float
    """Expected calibration error, ten bins."""


def report(predictions: Mapping[str, Predictions]) -> list[Figures]:
    """Figures per task, for each corpus and set of modalities, and for all corpora together if there are more."""
    return [
        _figures(task, corpus, modalities, of_task.where(chosen))
        for task, of_task in predictions.items()
        for corpus, modalities, chosen in _groups(of_task)
    ]


def as_table(figures: Sequence[Figures]) -> str:
    """Figures as a table in Markdown."""
    rows = [
        "| task | corpus | given | clips, speakers | UAR [95 %] | chance | per speaker | accuracy (constant) | NLL | ECE |"
    ]
    rows += ["|---|---|---|---|---|---|---|---|---|---|"]
    for f in figures:
        mean, deviation = f.unweighted_average_recall_per_speaker
        rows.append(
            f"| {f.task} | {f.corpus} | {f.modalities} | {f.num_clips}, {f.num_speakers} "
            f"| **{f.unweighted_average_recall:.3f}** [{f.interval[0]:.3f}, {f.interval[1]:.3f}] | {f.chance:.2f} "
            f"| {mean:.3f} ± {deviation:.3f} | {f.accuracy:.3f} ({f.constant_accuracy:.3f}) "
            f"| {f.negative_log_likelihood:.2f} | {f.calibration_error:.3f} |"
        )
    return "\n".join(rows)


def _groups(predictions: Predictions) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    for modalities in np.unique(predictions.modalities):
        with_these = predictions.modalities == modalities
        corpora = np.unique(predictions.corpora[with_these])
        for corpus in corpora:
            yield str(corpus), str(modalities), with_these & (predictions.corpora == corpus)
        if len(corpora) > 1:
            yield ALL_CORPORA, str(modalities), with_these


def _figures(task: str, corpus: str, modalities: str, predictions: Predictions) -> Figures:
    by_speaker = confusion_by_speaker(predictions)
    total = by_speaker.sum(axis=0)
    per_speaker = unweighted_average_recall(by_speaker)
    occurrences = total.sum(axis=1)
    return Figures(
        task=task,
        corpus=corpus,
        modalities=modalities,
        num_clips=len(predictions),
        num_speakers=len(by_speaker),
        unweighted_average_recall=float(unweighted_average_recall(total)),
        interval=speaker_interval(by_speaker, unweighted_average_recall),
        unweighted_average_recall_per_speaker=(float(per_speaker.mean()), float(per_speaker.std())),
        chance=float(1 / (occurrences > 0).sum()),
        accuracy=float(accuracy(total)),
        constant_accuracy=float(occurrences.max() / occurrences.sum()),
        negative_log_likelihood=float(negative_log_likelihoods(predictions).mean()),
        calibration_error=expected_calibration_error(predictions),
    )
