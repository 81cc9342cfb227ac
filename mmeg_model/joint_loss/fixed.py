"""Weights that are given."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FixedWeighting(nn.Module):
    """The same weights from beginning to end; a task of weight 0 is not trained.

    Raises:
        ValueError: if a weight is negative or not finite, or all are 0.
    """

    weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        if not all(math.isfinite(w) and w >= 0 for w in weights) or not any(weights):
            raise ValueError(f"weights must be finite, at least 0 and not all 0, got {list(weights)}")
        self.register_buffer("weights", torch.tensor(weights) / sum(weights))

    def forward(self, losses: Tensor, /) -> Tensor:
        """The given weights, scaled to sum to 1, whatever the losses are."""
        if losses.shape != self.weights.shape:
            raise ValueError(
                f"{len(self.weights)} weights are given for {len(losses)} tasks: give one a task"
            )
        return self.weights
