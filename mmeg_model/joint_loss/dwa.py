"""Weights by how fast the losses fall."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmeg_model.joint_loss.weighting import Weighting


class DWAWeighting(Weighting):
    """Dynamic Weight Average: the slower a task's loss fell, the more weight it gets (Liu et al. 2019).

    Equation 7 of "End-to-End Multi-Task Learning with Attention" (arXiv 1803.10704): K tasks share
    K softmax(r / T), where r_k is the loss of the last epoch over that of the one before. The weights sum to K,
    not to 1. A ratio that is not known (in the first two epochs, of a task without a label in one of the two
    epochs, 0 / 0) is 1: as fast as a loss that stands still.

    Args:
        tasks: their names, in the order of the losses.
        temperature: T, positive; the higher, the more equal. The paper's is 2.

    Raises:
        ValueError: if the temperature is not positive and finite.
    """

    history: Tensor

    def __init__(self, tasks: Sequence[str], temperature: float = 2.0) -> None:
        super().__init__(tasks)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {temperature}: the paper's is 2")
        self.temperature = temperature
        self.register_buffer("history", torch.full((2, len(self.tasks)), math.nan))  # older, newer epoch

    @property
    def weights(self) -> Tensor:
        older, newer = self.history
        ratios = torch.nan_to_num(newer / older, nan=1.0)
        return len(self.tasks) * (ratios / self.temperature).softmax(dim=0)

    def forward(self, losses: Tensor, labelled: Tensor | None = None, /) -> Tensor:
        """The weights of this epoch, whatever the losses are."""
        return self.weights

    def end_epoch(self, losses: Tensor, labelled: Tensor, /) -> None:
        newest = torch.where(labelled, losses.detach(), math.nan).to(self.history)
        self.history = torch.stack([self.history[1], newest])
