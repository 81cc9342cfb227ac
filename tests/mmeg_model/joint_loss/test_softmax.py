import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from mmeg_model.joint_loss import SoftmaxWeighting

BOTH = torch.tensor([True, True])
LOSSES = torch.tensor([1.1, 0.1])
"""Of a hard task and an easy one."""


def with_logits(logits: list[float]) -> SoftmaxWeighting:
    weighting = SoftmaxWeighting([f"task {k}" for k in range(len(logits))])
    weighting.logits.data = torch.tensor(logits)
    return weighting


@pytest.mark.parametrize(
    ("logits", "losses", "gradient"),
    [
        # By hand: the gradient of logit k is w_k (L_k − Σ w_i L_i).
        ([0.0, 0.0], [1.0, 1.0], [0.0, 0.0]),  # as easy as each other
        ([0.0, 0.0], [1.1, 0.1], [0.25, -0.25]),  # w = (1/2, 1/2), mean 0.6
        ([math.log(3), 0.0], [1.1, 0.1], [0.1875, -0.1875]),  # w = (3/4, 1/4), mean 0.85: 3/4 · 1/4
        ([0.0, 0.0, math.log(2)], [2.0, 1.0, 0.0], [0.3125, 0.0625, -0.375]),  # w = (1/4, 1/4, 1/2), mean 3/4
        ([40.0, -90.0], [1.0, 9.0], [0.0, 0.0]),  # collapsed
    ],
)
def test_golden_gradient(logits: list[float], losses: list[float], gradient: list[float]):
    weighting = with_logits(logits)
    weighting.joint_loss(torch.tensor(losses), torch.ones(len(losses), dtype=torch.bool)).backward()
    assert_close(weighting.logits.grad, torch.tensor(gradient), rtol=0, atol=1e-6)


def test_golden_weights():
    assert_close(with_logits([0.0, 0.0]).weights, torch.tensor([0.5, 0.5]))  # at the beginning
    assert_close(with_logits([math.log(3), 0.0]).weights, torch.tensor([0.75, 0.25]))


@given(
    st.lists(
        st.tuples(st.floats(-8, 8, width=32), st.floats(0, 10, width=32), st.booleans()),
        min_size=1,
        max_size=5,
    )
)
def test_gradient_is_the_papers(tasks: list[tuple[float, float, bool]]):
    logits, losses, labelled = map(list, zip(*tasks, strict=True))
    weighting = with_logits(logits).double()
    losses, labelled = torch.tensor(losses).double(), torch.tensor(labelled)
    losses.requires_grad_()
    weighting.joint_loss(losses * labelled, labelled).backward()
    weights = weighting.weights
    there = weights * labelled
    mean = (there @ losses) / there.sum() if labelled.any() else 0.0  # over the labelled tasks
    assert_close(weighting.logits.grad, there * (losses - mean).detach(), rtol=1e-9, atol=1e-12)
    assert_close(losses.grad, there)


def test_unlabelled_task_does_not_look_easy():
    # Only the hard task has labels. Weight that moved to the other one, whose loss is 0 for want of labels, would
    # lower the joint loss, but nothing was learnt of which is easier.
    weighting = with_logits([0.5, -0.5])
    weighting.joint_loss(torch.tensor([1.1, 0.0]), torch.tensor([True, False])).backward()
    assert_close(weighting.logits.grad, torch.zeros(2), rtol=0, atol=1e-7)


@pytest.mark.parametrize("labelled", [[True, False], [False, True], [False, False], [True, True]])
def test_collapsed(labelled: list[bool]):
    weighting = with_logits([1e4, -1e4])
    joint_loss = weighting.joint_loss(LOSSES * torch.tensor(labelled), torch.tensor(labelled))
    joint_loss.backward()
    assert_close(joint_loss, torch.tensor(1.1 if labelled[0] else 0.0))
    assert not weighting.logits.grad.any()


def drift(optimizer: torch.optim.Optimizer, weighting: SoftmaxWeighting, *, num_steps: int) -> Tensor:
    """The weight of the easy task after each step of a training in which the losses stay."""
    easy = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        weighting.joint_loss(LOSSES.to(weighting.logits), BOTH).backward()
        optimizer.step()
        easy.append(weighting.weights[1])
    return torch.stack(easy)


def test_drifts_to_the_easiest_task_under_gradient_descent():
    # By hand: d = s_easy − s_hard grows by 2 η w_easy w_hard ΔL a step, w_easy = 1 / (1 + exp(−d)), so that
    # w_easy w_hard = 1 / (2 + 2 cosh d). As a differential equation that is separable: 2 d + 2 sinh d = 2 η n ΔL.
    weighting = SoftmaxWeighting(["hard", "easy"]).double()
    easy = drift(torch.optim.SGD(weighting.parameters(), lr=0.05), weighting, num_steps=400)
    d = torch.logit(easy[-1])
    assert_close(2 * d + 2 * d.sinh(), torch.tensor(2 * 0.05 * 400 * 1.0).double(), rtol=1e-2, atol=0)
    assert (easy.diff() > 0).all()


def test_drifts_to_the_easiest_task_under_adam():
    # By hand: Adam's step is η m̂ / √v̂. At first the gradient alone sets both, so each logit moves by η: the weight
    # is 1 / (1 + exp(−2 η)). Later the gradient has shrunk and √v̂ lags above m̂, so 1 / (1 + exp(−2 η n)) is a bound.
    #
    # With the authors' η = 1e-4 and batches of one clip, `drift` passes 0.987 at step 24 606: after ten epochs, if
    # their training set had 2461 clips. How many it had is not known here, so that figure is not asserted.
    weighting = SoftmaxWeighting(["hard", "easy"])
    easy = drift(torch.optim.Adam(weighting.parameters(), lr=0.01), weighting, num_steps=300)
    bound = torch.sigmoid(2 * 0.01 * torch.arange(1, 301))
    assert_close(easy[0], bound[0], rtol=0, atol=1e-6)
    assert (easy.diff() > 0).all()
    assert (easy <= bound + 1e-6).all()
    assert easy[99] > 0.85
    assert easy[299] > 0.96
