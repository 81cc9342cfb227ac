"""Equal weights."""

import torch
from torch import Tensor

from mmeg_model.joint_loss.weighting import Weighting


class UniformWeighting(Weighting):
    """1 / tasks each."""

    @property
    def weights(self) -> Tensor:
        return torch.full((len(self.tasks),), 1 / len(self.tasks))

    def forward(self, losses: Tensor, labelled: Tensor | None = None, /) -> Tensor:
        """Equal weights, whatever the losses are."""
        return self.weights.to(losses)
