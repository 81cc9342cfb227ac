from collections.abc import Callable

import numpy as np
import pytest

from mmeg_model.evaluation.calibration import fit_temperature
from mmeg_model.evaluation.metrics import negative_log_likelihoods
from mmeg_model.evaluation.predictions import Predictions

Make = Callable[..., Predictions]


@pytest.mark.parametrize("logit", [0.1, 1.0, 20.0])
def test_temperature_by_hand(predictions: Make, logit: float):
    """Right three times in four with a logit of z: best is a confidence of 3/4, so z / T = log 3."""
    of = predictions([[logit, 0]] * 4, [0, 0, 0, 1], ["a"] * 4)
    assert fit_temperature(of) == pytest.approx(logit / np.log(3), rel=1e-3)


def test_no_temperature_nearby_is_better(predictions: Make):
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 3, (200, 4)), random.integers(0, 4, 200)
    logits[np.arange(200), labels] += 2
    best = fit_temperature(predictions(logits, labels, ["a"] * 200))

    def loss(temperature: float) -> float:
        return float(negative_log_likelihoods(predictions(logits / temperature, labels, ["a"] * 200)).mean())

    assert loss(best) < min(loss(best * 0.97), loss(best * 1.03))


@pytest.mark.parametrize(("labels", "bound"), [([0, 0, 0], 0.05), ([1, 1, 1], 20.0)])
def test_all_right_or_all_wrong_does_not_carry_it_away(predictions: Make, labels: list[int], bound: float):
    assert fit_temperature(predictions([[1, 0]] * 3, labels, ["a"] * 3)) == pytest.approx(bound, abs=0.01)
