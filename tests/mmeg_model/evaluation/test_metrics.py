from collections.abc import Callable

import numpy as np
import pytest

from mmeg_model.evaluation.metrics import (
    ReliabilityBin,
    accuracy,
    confusion_by_speaker,
    expected_calibration_error,
    label_entropy,
    negative_log_likelihoods,
    reliability,
    softmax,
    sum_by_speaker,
    unweighted_average_recall,
)
from mmeg_model.evaluation.predictions import Predictions

Make = Callable[..., Predictions]
SURE = 100.0


def test_confusion_by_speaker(predictions: Make):
    of = predictions([[1, 0], [0, 1], [0, 1], [1, 0]], [0, 0, 1, 1], ["b", "a", "b", "b"])
    assert confusion_by_speaker(of).tolist() == [[[0, 1], [0, 0]], [[1, 0], [1, 1]]]


def test_recall_and_accuracy_by_hand():
    """Nine of ten of the first label right, one of two of the second: recalls .9 and .5."""
    confusion = np.array([[9, 1], [1, 1]])
    assert unweighted_average_recall(confusion) == pytest.approx(0.7)
    assert accuracy(confusion) == pytest.approx(10 / 12)


def test_a_label_that_does_not_occur_has_no_recall():
    assert unweighted_average_recall(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 2]])) == pytest.approx(0.875)


@pytest.mark.parametrize("num_labels", [2, 4])
def test_a_constant_answer_has_chance_recall(num_labels: int):
    confusion = np.zeros((num_labels, num_labels), int)
    confusion[:, 0] = np.arange(1, num_labels + 1)  # always says the first, whatever the labels' shares
    assert unweighted_average_recall(confusion) == pytest.approx(1 / num_labels)


def test_many_confusions_at_once():
    several = np.random.default_rng(0).integers(1, 9, (5, 3, 3))
    assert np.allclose(unweighted_average_recall(several), [unweighted_average_recall(c) for c in several])


def test_negative_log_likelihoods_by_hand(predictions: Make):
    of = predictions([[0, 0], [np.log(3), 0], [np.log(3), 0]], [0, 0, 1], ["a"] * 3)
    assert np.allclose(negative_log_likelihoods(of), [np.log(2), -np.log(0.75), np.log(4)], atol=1e-6)


def test_absurd_logits_stay_finite(predictions: Make):
    of = predictions([[1e30, -1e30], [-1e30, 1e30]], [1, 1], ["a"] * 2)
    assert np.isfinite(negative_log_likelihoods(of)).all()
    assert softmax(of.logits).tolist() == [[1, 0], [0, 1]]


def test_calibration_error_by_hand(predictions: Make):
    """Sure of four and right in three: off by a quarter. Even odds, and right in one of two: not off at all."""
    sure = predictions([[SURE, 0]] * 4, [0, 0, 0, 1], ["a"] * 4)
    even = predictions([[1e-6, 0]] * 2, [0, 1], ["a"] * 2)
    assert expected_calibration_error(sure) == pytest.approx(0.25)
    assert expected_calibration_error(even) == pytest.approx(0, abs=1e-6)


def test_reliability_by_hand(predictions: Make):
    """Odds of 3 to 2, right in one of two; and sure, which is in the last bin; the bins between are empty."""
    of = predictions([[np.log(3), np.log(2)], [np.log(2), np.log(3)], [SURE, 0]], [0, 0, 0], ["a"] * 3)
    even, sure = reliability(of, num_bins=4)
    assert even == ReliabilityBin(0.5, 0.75, 2, pytest.approx(0.6), 0.5)
    assert sure == ReliabilityBin(0.75, 1.0, 1, pytest.approx(1.0), 1.0)


def test_entropy_by_hand():
    """Of shares 1/2, 1/4, 1/4: half a log 2 and half a log 4. Who knows that there is one label is sure."""
    assert label_entropy(np.array([2, 1, 0, 1])) == pytest.approx(1.5 * np.log(2))
    assert str(label_entropy(np.array([0, 5]))) == "0.0"


def test_no_constant_answer_beats_the_labels_shares(predictions: Make):
    labels, occurrences = [0] * 5 + [1] * 2, np.array([5, 2])

    def loss(logit: float) -> float:
        return float(negative_log_likelihoods(predictions([[logit, 0]] * 7, labels, ["a"] * 7)).mean())

    best = np.log(5 / 2)
    assert loss(best) == pytest.approx(label_entropy(occurrences), abs=1e-6)
    assert loss(best) < min(loss(best - 0.1), loss(best + 0.1))


def test_sums_by_speaker():
    assert sum_by_speaker(np.array(["b", "a", "b"]), np.array([1.0, 2.0, 4.0])).tolist() == [2, 5]
