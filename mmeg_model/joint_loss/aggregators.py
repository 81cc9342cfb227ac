"""Weights from the gradients of the losses, by the aggregators of torchjd."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor
from torchjd.aggregation import (
    AlignedMTLWeighting,
    DualProjWeighting,
    IMTLGWeighting,
    MGDAWeighting,
    PCGradWeighting,
    UPGradWeighting,
)
from torchjd.autojac import jac

from mmeg_model.joint_loss.weighting import Weighting
from mmeg_model.nearest import unknown

AGGREGATORS: Final[Mapping[str, Callable[[], Callable[[Tensor], Tensor]]]] = MappingProxyType(
    {
        "AlignedMTL": AlignedMTLWeighting,
        "DualProj": DualProjWeighting,
        "IMTLG": IMTLGWeighting,
        "MGDA": MGDAWeighting,
        "PCGrad": PCGradWeighting,
        "UPGrad": UPGradWeighting,
    }
)
"""Those of torchjd that give weights (a log needs them), keep no state that a checkpoint would miss, and are no
other weighting of this package under another name."""


class TorchjdWeighting(Weighting):
    """Weights with which the gradients of the tasks, all parameters together, make the aggregator's direction.

    The gradients of the heads count too: this is Jacobian descent on the whole network (Quinton and Rey 2024,
    arXiv 2406.16232), where some of the aggregators' own papers look at its shared part alone. Each step costs
    a backward pass per task and one more. The Gramian is divided by its trace, so the weights do not change
    when all losses are scaled. They are a distribution with MGDA alone: those of IMTLG sum to 1 but may be
    negative, as those of AlignedMTL, and AlignedMTL, DualProj, PCGrad and UPGrad sum to what they like. Tasks
    without a label in the batch are left out: their weights are 0, and the others are as if they did not exist.
    PCGrad draws from torch's own generator. `weights` are those of the last step, equal ones before the first.

    Args:
        tasks: their names, in the order of the losses.
        aggregator: a name in `AGGREGATORS`.

    Raises:
        ValueError: if there is no aggregator of that name (the message says which are near), its package is not
            installed, or there are several processes.
        FloatingPointError: in a step, if a gradient is not finite.
    """

    new_each_step = True
    found: Tensor

    def __init__(self, tasks: Sequence[str], aggregator: str = "UPGrad") -> None:
        super().__init__(tasks)
        if aggregator not in AGGREGATORS:
            raise ValueError(unknown("aggregator", aggregator, AGGREGATORS))
        _refuse_several_processes()
        try:
            self.aggregate = AGGREGATORS[aggregator]()
        except ImportError as error:  # quadprog's licence is not for everybody
            raise ValueError(
                f"the aggregator {aggregator!r} needs quadprog, which is under the GPL: pip install 'mmeg[upgrad]', or "
                f"take one that does not, such as 'MGDA' ({error})"
            ) from error
        self.register_buffer("found", torch.full((len(self.tasks),), 1 / len(self.tasks)))

    @property
    def weights(self) -> Tensor:
        return self.found

    def forward(self, losses: Tensor, labelled: Tensor | None = None, /) -> Tensor:
        """Weights by the gradients of the losses; their graph is kept for the backward pass to come."""
        _refuse_several_processes()
        labelled = torch.ones_like(losses, dtype=torch.bool) if labelled is None else labelled
        self.found = torch.zeros_like(losses).detach()
        if labelled.any():
            # One task after the other, since vmap, the default, does not know cuDNN's LSTM.
            jacobians = jac(losses[labelled], _leaves(losses), retain_graph=True, parallel_chunk_size=1)
            rows = [jacobian.reshape(len(jacobian), -1).double() for jacobian in jacobians]
            gramian = torch.stack([row @ row.T for row in rows]).sum(dim=0)  # (labelled, labelled)
            squared_norms = torch.zeros_like(losses, dtype=gramian.dtype)
            squared_norms[labelled] = gramian.diagonal()
            self._check_finite("gradient", squared_norms)
            gramian = gramian / gramian.trace().clamp(min=torch.finfo(gramian.dtype).tiny)
            self.found[labelled] = self.aggregate(gramian).to(losses.dtype)
        return self.found


def _leaves(losses: Tensor) -> list[Tensor]:
    """The parameters that losses were computed from."""
    seen, todo, leaves = set(), [losses.grad_fn], list[Tensor]()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        todo += [next_node for next_node, _ in node.next_functions]
    return leaves


def _refuse_several_processes() -> None:
    if torch.distributed.is_initialized() and (size := torch.distributed.get_world_size()) > 1:
        raise ValueError(
            f"the weighting 'torchjd' needs the gradients of the whole batch and so one process, there are {size}: "
            "start the training without a launcher, or take another weighting"
        )
