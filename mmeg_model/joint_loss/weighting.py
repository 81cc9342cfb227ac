"""The protocol of joint losses."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


class Weighting(nn.Module, ABC):
    """From the losses of the tasks to one joint loss, by a weight for each.

    A training calls `joint_loss` at every step and `end_epoch` behind every epoch. Parameters, where there are
    any, are trained by the network's optimiser, but without weight decay, which would pull them to equal
    weights. `state_dict` holds whatever a training that was interrupted needs to go on bit for bit.

    A task without a label in a batch takes its weight along: it adds nothing to the joint loss, nothing gets a
    gradient from it, and the other tasks keep their weights (but for `torchjd`, which leaves it out and weights
    the others anew).
    """

    new_each_step: ClassVar[bool] = False
    """Whether each step has weights of its own: then an epoch's are their mean, not those of its last step."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @property
    @abstractmethod
    def weights(self) -> Tensor:
        """The weights as they stand, (tasks,), without a gradient: for logs and for evaluation."""

    @abstractmethod
    def forward(self, losses: Tensor, labelled: Tensor | None = None, /) -> Tensor:
        """Weights, (tasks,), of a batch; unless a weighting says otherwise at least 0 and summing to 1.

        Args:
            losses: (tasks,), means over what is labelled, 0 where nothing is; see `task_losses`.
            labelled: (tasks,), bool, which tasks have a label in this batch; all by default.
        """

    def joint_loss(self, losses: Tensor, labelled: Tensor, /) -> Tensor:
        """What a training step minimises: the weights times the losses, summed. Arguments as of `forward`.

        Raises:
            ValueError: if there is not one loss a task.
            FloatingPointError: if a loss is not finite; the message names the task.
        """
        if losses.shape != (len(self.tasks),):
            raise ValueError(
                f"there must be one loss for each of {', '.join(self.tasks)}, got shape {tuple(losses.shape)}"
            )
        self._check_finite("loss", losses)
        return self(losses, labelled) @ losses

    def end_epoch(self, losses: Tensor, labelled: Tensor, /) -> None:
        """Note how an epoch went; most weightings do not care.

        Args:
            losses: (tasks,), means over the labelled examples of the epoch.
            labelled: (tasks,), bool, which tasks had a label in it.
        """

    def _check_finite(self, what: str, values: Tensor) -> None:
        for task, value in zip(self.tasks, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"a {what} must be finite, that of {task} is {value}: try a lower learning rate, and look for "
                    "what is not finite in the batch"
                )
