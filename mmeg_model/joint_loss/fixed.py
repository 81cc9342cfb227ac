"""Weights that are given."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmeg_model.joint_loss.weighting import Weighting


class FixedWeighting(Weighting):
    """The same weights from beginning to end, scaled to sum to 1; a task of weight 0 is not trained.

    Raises:
        ValueError: if there is not one weight a task, a weight is negative or not finite, or all are 0.
    """

    given: Tensor

    def __init__(self, tasks: Sequence[str], weights: Sequence[float]) -> None:
        super().__init__(tasks)
        if len(weights) != len(tasks):
            raise ValueError(
                f"weights must be one for each of {', '.join(tasks)}, got {list(weights)}: give 0 to a task that "
                "is not to be trained"
            )
        if not all(0 <= w < math.inf for w in weights) or not any(weights):
            raise ValueError(f"weights must be finite, at least 0 and not all 0, got {list(weights)}")
        shares = [w / max(weights) for w in weights]  # neither these nor their sum overflow
        self.register_buffer("given", torch.tensor([share / sum(shares) for share in shares]))

    @property
    def weights(self) -> Tensor:
        return self.given

    def forward(self, losses: Tensor, labelled: Tensor | None = None, /) -> Tensor:
        """The given weights, whatever the losses are."""
        return self.given
