import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mmeg_model.joint_loss import UNLABELLED, task_losses


def test_golden():
    # Equal logits of 2 classes lose ln 2. Logits (ln 3, 0) are probabilities (3/4, 1/4) and lose ln 4/3 or ln 4.
    logits = {
        "emotion": torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [9.0, -9.0]]),
        "gender": torch.tensor([[math.log(3), 0.0], [0.0, 0.0], [9.0, -9.0]]),
    }
    labels = {"emotion": torch.tensor([0, 1, UNLABELLED]), "gender": torch.tensor([0, -1, -1])}
    losses, counts = task_losses(logits, labels)
    expected = torch.tensor([(math.log(2) + math.log(4)) / 2, math.log(4 / 3)])
    assert_close(losses, expected, rtol=0, atol=1e-6)
    assert counts.tolist() == [2, 1]


def test_no_label_no_gradient():
    logits = {task: torch.randn(5, 4, requires_grad=True) for task in ("emotion", "gender")}
    labels = {"emotion": torch.tensor([0, 1, 2, 3, UNLABELLED]), "gender": torch.full((5,), UNLABELLED)}
    losses, counts = task_losses(logits, labels)
    losses.sum().backward()
    assert losses[1] == 0
    assert counts.tolist() == [4, 0]
    assert not logits["gender"].grad.any()
    assert logits["emotion"].grad[:4].all()
    assert not logits["emotion"].grad[4].any()


@given(st.lists(st.integers(UNLABELLED, 3), min_size=1, max_size=12), st.integers(0, 2**32))
def test_equals_a_loop_over_examples(labels: list[int], seed: int):
    logits = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    losses, counts = task_losses({"emotion": logits}, {"emotion": torch.tensor(labels)})
    each = [-row.log_softmax(dim=0)[label] for row, label in zip(logits, labels, strict=True) if label >= 0]
    assert counts.item() == len(each)
    assert_close(losses[0], sum(each) / len(each) if each else torch.zeros((), dtype=torch.float64))
