import math

import pytest
import torch
from torch.testing import assert_close
from torchjd.scalarization import DWA

from mmeg_model.joint_loss import DWAWeighting

TASKS = ("emotion", "gender")
BOTH = torch.tensor([True, True])


def after(epochs: list[list[float]], temperature: float = 2.0) -> DWAWeighting:
    weighting = DWAWeighting(TASKS, temperature=temperature)
    for losses in epochs:
        weighting.end_epoch(torch.tensor(losses), BOTH)
    return weighting


@pytest.mark.parametrize(
    ("epochs", "weights"),
    [
        # By hand: 2 exp(r_k / 2) / Σ exp(r_i / 2), r the last epoch's losses over those of the one before.
        ([], [1.0, 1.0]),
        ([[2.0, 1.0]], [1.0, 1.0]),  # one epoch has no ratio
        (
            [[2.0, 1.0], [1.0, 1.0]],
            [0.875647, 1.124353],
        ),  # r = (1/2, 1): 2 · 1.284025 / (1.284025 + 1.648721)
        ([[9.0, 5.0], [2.0, 1.0], [1.0, 1.0]], [0.875647, 1.124353]),  # older epochs are forgotten
        ([[2.0, 4.0], [1.0, 2.0]], [1.0, 1.0]),  # both fell by half
        ([[1.0, 0.0], [1.0, 0.0]], [1.0, 1.0]),  # 0 / 0 counts as 1
        ([[1.0, 0.0], [1.0, 0.1]], [0.0, 2.0]),  # 0.1 / 0: no other matters
        ([[1e10, 1.0], [0.0, 1.0]], [0.755081, 1.244919]),  # r = (0, 1): 2 · 1 / (1 + 1.648721)
    ],
)
def test_golden(epochs: list[list[float]], weights: list[float]):
    weighting = after(epochs)
    assert_close(weighting.weights, torch.tensor(weights), rtol=0, atol=1e-5)
    losses = torch.tensor([1.1, 0.1])
    assert_close(weighting.joint_loss(losses, BOTH), torch.tensor(weights) @ losses, rtol=0, atol=1e-5)


def test_temperature():
    # By hand, r = (1/2, 1), T = 1/2: 2 e / (e + e²) = 2 / (1 + e). Hot: equal.
    epochs = [[2.0, 1.0], [1.0, 1.0]]
    assert_close(after(epochs, 0.5).weights[0], torch.tensor(2 / (1 + math.e)))
    assert_close(after(epochs, 1e6).weights, torch.ones(2), rtol=0, atol=1e-5)


def test_epoch_without_labels_has_no_ratio():
    weighting = DWAWeighting(TASKS)
    weighting.end_epoch(torch.tensor([2.0, 1.0]), BOTH)
    weighting.end_epoch(torch.tensor([1.0, 0.0]), torch.tensor([True, False]))
    # r = (1/2, 1): that nothing was labelled is not the fastest fall.
    assert_close(weighting.weights, torch.tensor([0.875647, 1.124353]), rtol=0, atol=1e-5)
    weighting.end_epoch(torch.tensor([0.5, 0.7]), BOTH)
    assert_close(weighting.weights, torch.tensor([0.875647, 1.124353]), rtol=0, atol=1e-5)
    weighting.end_epoch(torch.tensor([0.25, 0.35]), BOTH)
    assert_close(weighting.weights, torch.ones(2))


def test_equals_torchjds():
    random = torch.Generator().manual_seed(0)
    weighting, theirs = DWAWeighting(TASKS), DWA(temperature=2.0)
    for losses in torch.rand(6, 2, generator=random) + 0.1:
        assert_close(weighting.joint_loss(losses, BOTH), theirs(losses))
        weighting.end_epoch(losses, BOTH)
        theirs.step()


@pytest.mark.parametrize("scale", [0.0, 1e-10, 1.0, 1e10])
def test_sums_to_the_number_of_tasks(scale: float):
    for losses in scale * torch.rand(5, 2, 2, generator=torch.Generator().manual_seed(0)):
        assert_close(after(losses.tolist()).weights.sum(), torch.tensor(2.0))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_temperature_out_of_range(temperature: float):
    with pytest.raises(
        ValueError, match=f"temperature must be positive and finite, got {temperature}: the paper"
    ):
        DWAWeighting(TASKS, temperature=temperature)
