"""Weights by learnt uncertainty."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmeg_model.joint_loss.weighting import Weighting


class UncertaintyWeighting(Weighting):
    """Σ exp(−s_k) L_k + s_k / 2 with a learnable s_k = log σ_k² per task, from 0 on (Kendall et al. 2018).

    It is the term of a classification in equation 10 of "Multi-Task Learning Using Uncertainty to Weigh Losses
    for Scene Geometry and Semantics" (arXiv 1705.07115), L / σ² + log σ, where σ² is the temperature of the
    softmax; like there, log σ² is what is learnt. The weights exp(−s_k) are positive but no distribution: for a
    constant loss L the best is 1 / (2 L), so they grow without limit as a loss goes to 0.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.log_variances = nn.Parameter(torch.zeros(len(self.tasks)))

    @property
    def weights(self) -> Tensor:
        return (-self.log_variances.detach()).exp()

    def forward(self, losses: Tensor, labelled: Tensor | None = None, /) -> Tensor:
        """exp(−s), whatever the losses are."""
        return (-self.log_variances).exp()

    def joint_loss(self, losses: Tensor, labelled: Tensor, /) -> Tensor:
        """The weighted losses and, for the labelled tasks, the term that keeps their weights from 0."""
        return super().joint_loss(losses, labelled) + (self.log_variances * labelled).sum() / 2
