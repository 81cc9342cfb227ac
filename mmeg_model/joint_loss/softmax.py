"""The dynamic weights of Chae et al. 2018."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmeg_model.joint_loss.weighting import Weighting


class SoftmaxWeighting(Weighting):
    """Softmax of one learnable logit per task, from equal weights on (Chae et al. 2018, arXiv 1809.00758).

    With weights w and losses L the gradient of logit k is w_k (L_k − Σ w_i L_i): minimising the joint loss
    moves weight to the easiest task, and nothing holds it back, so the weights can collapse. A joint loss that
    fell may have done so by its weights alone.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.logits = nn.Parameter(torch.zeros(len(self.tasks)))

    @property
    def weights(self) -> Tensor:
        return self.logits.detach().softmax(dim=0)

    def forward(self, losses: Tensor, labelled: Tensor | None = None, /) -> Tensor:
        """The softmax; 0 for tasks without a label.

        Were the loss of those simply 0, they would be the easiest and weight would move to them. So the mean
        that a logit's gradient compares with is over the labelled tasks, and the other logits get none.
        """
        weights = self.logits.softmax(dim=0)
        if labelled is None:
            return weights
        weights = weights * labelled
        total = weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        # A factor of 1 whose gradient undoes the shift of weight to the tasks without a label.
        return weights * (total.detach() / total)
