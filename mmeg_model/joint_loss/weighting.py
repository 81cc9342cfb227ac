"""The protocol of joint losses."""

from typing import Protocol

from torch import Tensor


class Weighting(Protocol):
    """From the losses of the tasks to their weights; the joint loss is the dot product of the two.

    A weighting with parameters of its own is an `nn.Module` too, and they are trained beside the network's.
    """

    def __call__(self, losses: Tensor, /) -> Tensor:
        """Weights, (tasks,), at least 0 and summing to 1, for losses, (tasks,)."""
        ...
