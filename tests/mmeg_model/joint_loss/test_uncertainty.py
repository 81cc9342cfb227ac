import math

import torch
from torch.testing import assert_close

from mmeg_model.joint_loss import UncertaintyWeighting

BOTH = torch.tensor([True, True])


def test_golden():
    weighting = UncertaintyWeighting(["emotion", "gender"])
    assert_close(weighting.weights, torch.ones(2))  # at the beginning
    weighting.log_variances.data = torch.tensor([0.0, math.log(2)])
    assert_close(weighting.weights, torch.tensor([1.0, 0.5]))  # exp(−s): no distribution
    joint_loss = weighting.joint_loss(torch.tensor([1.1, 0.1]), BOTH)
    joint_loss.backward()
    # 1 · 1.1 + 1/2 · 0.1 + (0 + ln 2) / 2; the gradients are −exp(−s) L + 1/2.
    assert_close(joint_loss, torch.tensor(1.15 + math.log(2) / 2), rtol=0, atol=1e-6)
    assert_close(weighting.log_variances.grad, torch.tensor([-0.6, 0.45]), rtol=0, atol=1e-6)


def test_unlabelled_task_keeps_its_uncertainty():
    weighting = UncertaintyWeighting(["emotion", "gender"])
    weighting.log_variances.data = torch.tensor([0.0, math.log(2)])
    joint_loss = weighting.joint_loss(torch.tensor([1.1, 0.0]), torch.tensor([True, False]))
    joint_loss.backward()
    assert_close(joint_loss, torch.tensor(1.1))  # without ln 2 / 2
    assert_close(weighting.log_variances.grad, torch.tensor([-0.6, 0.0]), rtol=0, atol=1e-6)


def test_settles_where_weighted_losses_are_a_half():
    # By hand: −exp(−s) L + 1/2 = 0.
    losses = torch.tensor([1.1, 0.1])
    weighting = UncertaintyWeighting(["emotion", "gender"])
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        weighting.joint_loss(losses, BOTH).backward()
        optimizer.step()
    assert_close(weighting.weights, 1 / (2 * losses), rtol=1e-3, atol=0)
