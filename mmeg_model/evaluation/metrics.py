"""Figures of merit, from logits or from confusion matrices."""

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


def accuracy(confusion: NDArray[np.integer]) -> NDArray[np.float64]:
    """The share of right predictions, of counts (..., label, predicted)."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def unweighted_average_recall(confusion: NDArray[np.integer]) -> NDArray[np.float64]:
    """The mean recall of the labels that occur, of counts (..., label, predicted)."""
    occurrences = confusion.sum(axis=-1)  # (..., label)
    recalls = np.diagonal(confusion, axis1=-2, axis2=-1) / np.maximum(occurrences, 1)
    return recalls.sum(axis=-1) / (occurrences > 0).sum(axis=-1)


def expected_calibration_error(predictions: Predictions, num_bins: int = 10) -> float:
    """Mean gap between confidence and accuracy over bins of equal width (Guo et al. 2017, equation 3)."""
    probabilities = softmax(predictions.logits)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == predictions.labels
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, confidence - right, minlength=num_bins)  # sums, so a bin's size is its weight
    return float(np.abs(gaps).sum() / len(predictions))
