"""The figures of an evaluation by task, each next to what knowing nothing would give."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmeg_model.evaluation.bootstrap import percentile_interval, resampled_sums
from mmeg_model.evaluation.metrics import (
    ReliabilityBin,
    accuracy,
    confusion_by_speaker,
    expected_calibration_error,
    label_entropy,
    negative_log_likelihoods,
    reliability,
    sum_by_speaker,
    unweighted_average_recall,
)
from mmeg_model.evaluation.predictions import Predictions, perceived_genders
from mmeg_model.labels import GENDERS

ALL_CORPORA: Final = "all"

Interval = tuple[float, float] | None
"""95 %, bootstrap over speakers; None where there is one speaker alone, who says nothing of others."""


@dataclass(frozen=True)
class Baseline:
    """How well one would do who does not look at the clips."""

    unweighted_average_recall: float
    accuracy: float
    negative_log_likelihood: float


@dataclass(frozen=True)
class Figures:
    """How well one task went on one corpus (or `all`) with one set of modalities."""

    task: str
    corpus: str
    perceived_gender: str | None
    """Of the people in the clips; None: whatever it is."""
    modalities: str
    num_clips: int
    num_speakers: int
    unweighted_average_recall: float
    """Over the clips of all speakers together."""
    unweighted_average_recall_interval: Interval
    unweighted_average_recall_per_speaker: tuple[float, float]
    """Mean and standard deviation over speakers, each by their own clips."""
    accuracy: float
    accuracy_interval: Interval
    negative_log_likelihood: float
    """In nats."""
    negative_log_likelihood_interval: Interval
    calibration_error: float
    """Expected calibration error, ten bins."""
    chance: Baseline
    """Of guessing, every label of the task as often as the others."""
    constant: Baseline
    """Of always answering the same, knowing how often which label occurs among these very clips: the most frequent
    label, and, in the negative log-likelihood, their shares."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts, (label, predicted), in the order of `LABELS_BY_TASK`."""
    reliability: tuple[ReliabilityBin, ...]


def report(predictions: Mapping[str, Predictions]) -> list[Figures]:
    """Figures per task, for each corpus and set of modalities, and for all corpora together if there are more."""
    return [
        _figures(task, corpus, None, modalities, of_task.where(chosen))
        for task, of_task in predictions.items()
        for corpus, modalities, chosen in groups(of_task.corpora, of_task.modalities)
    ]


def report_by_gender(predictions: Mapping[str, Predictions]) -> list[Figures]:
    """As `report`, for each perceived gender; clips without that label are in none of them.

    Of the task gender these are the recalls of its labels, and how confident the answers were.

    Raises:
        ValueError: if the clips of a task are not known.
    """
    genders = perceived_genders(predictions)
    return [
        _figures(task, corpus, gender, modalities, of_gender.where(chosen))
        for task, of_task in predictions.items()
        for gender in GENDERS
        for of_gender in [of_task.where(genders[task] == gender)]
        for corpus, modalities, chosen in groups(of_gender.corpora, of_gender.modalities)
    ]


def groups(
    corpora: NDArray[np.str_], modalities: NDArray[np.str_]
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Corpus, set of modalities, and which of the rows, (N,), those are; `all` corpora too if there are more."""
    for given in np.unique(modalities):
        with_these = modalities == given
        names = np.unique(corpora[with_these])
        for name in names:
            yield str(name), str(given), with_these & (corpora == name)
        if len(names) > 1:
            yield ALL_CORPORA, str(given), with_these


def as_table(figures: Sequence[Figures]) -> str:
    """Figures as a table in Markdown."""
    rows = [
        "| task | corpus | given | clips, speakers | UAR [95 %] | chance | per speaker "
        "| accuracy [95 %] (constant) | NLL [95 %] (constant) | ECE |"
    ]
    rows += ["|---|---|---|---|---|---|---|---|---|---|"]
    for f in figures:
        mean, deviation = f.unweighted_average_recall_per_speaker
        rows.append(
            f"| {f.task} | {corpus_cell(f.corpus, f.perceived_gender)} | {f.modalities} "
            f"| {f.num_clips}, {f.num_speakers} "
            f"| **{f.unweighted_average_recall:.3f}** {interval_cell(f.unweighted_average_recall_interval)} "
            f"| {f.chance.unweighted_average_recall:.2f} | {mean:.3f} ± {deviation:.3f} "
            f"| {f.accuracy:.3f} {interval_cell(f.accuracy_interval)} ({f.constant.accuracy:.3f}) "
            f"| {f.negative_log_likelihood:.2f} {interval_cell(f.negative_log_likelihood_interval, 2)} "
            f"({f.constant.negative_log_likelihood:.2f}) | {f.calibration_error:.3f} |"
        )
    return "\n".join(rows)


def corpus_cell(corpus: str, perceived_gender: str | None) -> str:
    """Whose clips a row of a table is about."""
    return corpus if perceived_gender is None else f"{corpus}, {perceived_gender}"


def interval_cell(interval: Interval, num_digits: int = 3) -> str:
    """An interval in a table."""
    return "[one speaker]" if interval is None else f"[{', '.join(f'{b:.{num_digits}f}' for b in interval)}]"


def interval_over_speakers(figures: NDArray[np.floating], num_speakers: int) -> Interval:
    """Of a figure, by its values in all samples of the bootstrap, (num_samples,)."""
    return percentile_interval(figures) if num_speakers > 1 else None


def _figures(
    task: str, corpus: str, perceived_gender: str | None, modalities: str, predictions: Predictions
) -> Figures:
    by_speaker = confusion_by_speaker(predictions)
    losses = negative_log_likelihoods(predictions)
    num_speakers, num_labels, _ = by_speaker.shape
    total = by_speaker.sum(axis=0)
    per_speaker = unweighted_average_recall(by_speaker)
    occurrences = total.sum(axis=1)
    drawn = resampled_sums(
        np.column_stack([by_speaker.reshape(num_speakers, -1), sum_by_speaker(predictions.speakers, losses)])
    )
    drawn_confusion = drawn[:, :-1].reshape(-1, num_labels, num_labels)
    drawn_losses = drawn[:, -1] / drawn_confusion.sum(axis=(1, 2))
    return Figures(
        task=task,
        corpus=corpus,
        perceived_gender=perceived_gender,
        modalities=modalities,
        num_clips=len(predictions),
        num_speakers=num_speakers,
        unweighted_average_recall=float(unweighted_average_recall(total)),
        unweighted_average_recall_interval=interval_over_speakers(
            unweighted_average_recall(drawn_confusion), num_speakers
        ),
        unweighted_average_recall_per_speaker=(float(per_speaker.mean()), float(per_speaker.std())),
        accuracy=float(accuracy(total)),
        accuracy_interval=interval_over_speakers(accuracy(drawn_confusion), num_speakers),
        negative_log_likelihood=float(losses.mean()),
        negative_log_likelihood_interval=interval_over_speakers(drawn_losses, num_speakers),
        calibration_error=expected_calibration_error(predictions),
        chance=Baseline(1 / num_labels, 1 / num_labels, float(np.log(num_labels))),
        constant=Baseline(
            float(1 / (occurrences > 0).sum()),
            float(occurrences.max() / occurrences.sum()),
            label_entropy(occurrences),
        ),
        confusion=tuple(tuple(row) for row in total.tolist()),
        reliability=reliability(predictions),
    )
