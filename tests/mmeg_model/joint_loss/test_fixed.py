import re

import pytest
import torch
from torch.testing import assert_close

from mmeg_model.joint_loss import FixedWeighting

TASKS = ("emotion", "gender")
BOTH = torch.tensor([True, True])


@pytest.mark.parametrize(
    ("weights", "joint_loss"),
    [
        ([3.0, 1.0], 0.85),  # 3/4 · 1.1 + 1/4 · 0.1
        ([0.5, 0.5], 0.6),
        ([1.0, 0.0], 1.1),  # a single task
        ([0, 7], 0.1),
        ([1e300, 1e300], 0.6),  # more than float32 holds
        ([1.5e308, 1.5e308], 0.6),  # their sum is more than float64 holds
    ],
)
def test_golden(weights: list[float], joint_loss: float):
    weighting = FixedWeighting(TASKS, weights)
    losses = torch.tensor([1.1, 0.1], requires_grad=True)
    actual = weighting.joint_loss(losses, BOTH)
    actual.backward()
    assert_close(actual, torch.tensor(joint_loss), rtol=0, atol=1e-6)
    assert_close(losses.grad, weighting.weights)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 3.0], []])
def test_one_weight_a_task(weights: list[float]):
    message = f"weights must be one for each of emotion, gender, got {weights}: give 0 to a task"
    with pytest.raises(ValueError, match=re.escape(message)):
        FixedWeighting(TASKS, weights)


@pytest.mark.parametrize("weights", [[1.0, -0.5], [float("nan"), 1.0], [float("inf"), 1.0], [0.0, 0.0]])
def test_not_weights(weights: list[float]):
    message = f"weights must be finite, at least 0 and not all 0, got {weights}"
    with pytest.raises(ValueError, match=re.escape(message)):
        FixedWeighting(TASKS, weights)
