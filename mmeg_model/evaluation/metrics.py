"""Figures of merit, from logits or from confusion matrices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmeg_model.evaluation.predictions import Predictions


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def negative_log_likelihoods(predictions: Predictions) -> NDArray[np.float64]:
    """Of each clip's label, in nats, (N,)."""
    probabilities = softmax(predictions.logits)[np.arange(len(predictions)), predictions.labels]
    return -np.log(probabilities.clip(np.finfo(np.float64).tiny))


def confusion_by_speaker(predictions: Predictions) -> NDArray[np.int64]:
    """Counts, (speakers, label, predicted), speakers in alphabetical order."""
    num_labels = predictions.logits.shape[1]
    speakers, speaker = np.unique(predictions.speakers, return_inverse=True)
    counts = np.zeros((len(speakers), num_labels, num_labels), np.int64)
    np.add.at(counts, (speaker, predictions.labels, predictions.logits.argmax(axis=1)), 1)
    return counts


def sum_by_speaker(speakers: NDArray[np.str_], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sums of what stands for each clip, (N,), over each speaker's, (speakers,), in alphabetical order."""
    return np.bincount(np.unique(speakers, return_inverse=True)[1], values).astype(np.float64)


def accuracy(confusion: NDArray[np.number]) -> NDArray[np.float64]:
    """The share of right predictions, of counts (..., label, predicted)."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def unweighted_average_recall(confusion: NDArray[np.number]) -> NDArray[np.float64]:
    """The mean recall of the labels that occur, of counts (..., label, predicted)."""
    occurrences = confusion.sum(axis=-1)  # (..., label)
    recalls = np.diagonal(confusion, axis1=-2, axis2=-1) / np.maximum(occurrences, 1)
    return recalls.sum(axis=-1) / (occurrences > 0).sum(axis=-1)


def label_entropy(occurrences: NDArray[np.integer]) -> float:
    """Entropy in nats of labels that occur so often, (labels,).

    It is the negative log-likelihood of whoever answers with exactly these shares, whatever the clip: no other
    constant answer has a lower one.
    """
    shares = occurrences[occurrences > 0] / occurrences.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0  # + 0.0: one label alone has 0, not -0


@dataclass(frozen=True)
class ReliabilityBin:
    """The clips whose confidence, the probability of the answer, lies in [low, high); the last bin holds 1 too."""

    low: float
    high: float
    num_clips: int
    mean_confidence: float
    accuracy: float


def reliability(predictions: Predictions, num_bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Confidence against accuracy over bins of equal width (Guo et al. 2017, figure 1), without empty bins."""
    probabilities = softmax(predictions.logits)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == predictions.labels
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    return tuple(
        ReliabilityBin(
            low=float(number / num_bins),
            high=float((number + 1) / num_bins),
            num_clips=int((bins == number).sum()),
            mean_confidence=float(confidence[bins == number].mean()),
            accuracy=float(right[bins == number].mean()),
        )
        for number in np.unique(bins)
    )


def expected_calibration_error(predictions: Predictions, num_bins: int = 10) -> float:
    """Mean gap between confidence and accuracy over bins of equal width (Guo et al. 2017, equation 3)."""
    gaps = sum(
        of_bin.num_clips * abs(of_bin.mean_confidence - of_bin.accuracy)
        for of_bin in reliability(predictions, num_bins)
    )
    return gaps / len(predictions)
