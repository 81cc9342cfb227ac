"""Equal weights."""

import torch
from torch import Tensor, nn


class UniformWeighting(nn.Module):
    """1 / tasks each."""

    def forward(self, losses: Tensor, /) -> Tensor:
        """Equal weights, whatever the losses are."""
        return torch.full_like(losses, 1 / len(losses)).detach()
