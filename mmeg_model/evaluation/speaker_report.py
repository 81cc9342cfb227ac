"""The figures of an evaluation by speaker."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmeg_model.evaluation.metrics import (
    accuracy,
    confusion_by_speaker,
    negative_log_likelihoods,
    sum_by_speaker,
    unweighted_average_recall,
)
from mmeg_model.evaluation.predictions import Predictions


@dataclass(frozen=True)
class SpeakerFigures:
    """How well one task went on the clips of one speaker, of all corpora, with one set of modalities."""

    task: str
    speaker: str
    modalities: str
    num_clips: int
    unweighted_average_recall: float
    accuracy: float
    negative_log_likelihood: float
    """In nats."""


def report_by_speaker(predictions: Mapping[str, Predictions]) -> list[SpeakerFigures]:
    """Figures per task and set of modalities for each speaker, in alphabetical order."""
    return [
        figures
        for task, of_task in predictions.items()
        for modalities in np.unique(of_task.modalities)
        for figures in _of_speakers(task, str(modalities), of_task.where(of_task.modalities == modalities))
    ]


def _of_speakers(task: str, modalities: str, predictions: Predictions) -> list[SpeakerFigures]:
    confusion = confusion_by_speaker(predictions)  # (speakers, label, predicted)
    num_clips = confusion.sum(axis=(1, 2))
    losses = sum_by_speaker(predictions.speakers, negative_log_likelihoods(predictions)) / num_clips
    columns = (num_clips, unweighted_average_recall(confusion), accuracy(confusion), losses)
    return [
        SpeakerFigures(task, str(speaker), modalities, *of_speaker)
        for speaker, *of_speaker in zip(
            np.unique(predictions.speakers), *(column.tolist() for column in columns), strict=True
        )
    ]
