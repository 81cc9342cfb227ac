"""What a batch loses at each task, over those of its examples that are labelled for it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

UNLABELLED = -1
"""Stands for a missing label among class numbers."""


def task_losses(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy per task over the labelled examples, and how many those were.

    Args:
        logits: per task, (B, labels).
        labels: per task, (B,), class numbers or `UNLABELLED`.

    Returns:
        losses: (tasks,), in the order of logits; 0, without a gradient, where nothing is labelled.
        counts: (tasks,), int64.
    """
    sums = [
        nn.functional.cross_entropy(logits[t], labels[t], ignore_index=UNLABELLED, reduction="sum")
        for t in logits
    ]
    counts = torch.stack([(labels[task] != UNLABELLED).sum() for task in logits])
    return torch.stack(sums) / counts.clamp(min=1), counts
