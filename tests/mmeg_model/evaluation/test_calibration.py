from collections.abc import Callable

import numpy as np
import pytest

from mmeg_model.evaluation.calibration import fit_temperature
from mmeg_model.evaluation.metrics import negative_log_likelihoods
from mmeg_model.evaluation.predictions import Predictions

Make = Callable[..., Predictions]


@pytest.mark.parametrize("logit", [0.1, 1.0, 20.0])
def test_many_speakers_decide_alone(predictions: Make, logit: float):
    """Right three times in four with a logit of z: best is a confidence of 3/4, so z / T = log 3."""
    number = 40_000
    of = predictions([[logit, 0]] * number, [0, 0, 0, 1] * (number // 4), [str(i) for i in range(number)])
    assert fit_temperature(of) == pytest.approx(logit / np.log(3), rel=5e-3)


def test_no_temperature_nearby_is_more_probable(predictions: Make):
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 3, (200, 4)), random.integers(0, 4, 200)
    logits[np.arange(200), labels] += 2
    speakers = [str(i % 20) for i in range(200)]
    best = fit_temperature(predictions(logits, labels, speakers))

    def loss(temperature: float) -> float:
        likelihood = negative_log_likelihoods(predictions(logits / temperature, labels, speakers)).mean()
        return float(20 * likelihood + 2 * np.log(temperature) ** 2)

    assert loss(best) < min(loss(best * 0.97), loss(best * 1.03))


@pytest.mark.parametrize(("labels", "temperature"), [([0, 0, 0], 0.934), ([1, 1, 1], 1.163)])
def test_one_speaker_who_is_all_right_or_all_wrong_says_little(
    predictions: Make, labels: list[int], temperature: float
):
    """By hand, for a logit of 1: T solves s(-1/T) / T = -4 log T, or s(1/T) / T = 4 log T; s is the logistic function."""
    assert fit_temperature(predictions([[1, 0]] * 3, labels, ["a"] * 3)) == pytest.approx(
        temperature, abs=2e-3
    )
