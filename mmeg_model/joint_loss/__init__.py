"""Joint losses: one weighting a file, one protocol."""

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from mmeg_model.joint_loss.aggregators import AGGREGATORS, TorchjdWeighting
from mmeg_model.joint_loss.dwa import DWAWeighting
from mmeg_model.joint_loss.fixed import FixedWeighting
from mmeg_model.joint_loss.rlw import RLWWeighting
from mmeg_model.joint_loss.softmax import SoftmaxWeighting
from mmeg_model.joint_loss.task_losses import UNLABELLED, task_losses
from mmeg_model.joint_loss.uncertainty import UncertaintyWeighting
from mmeg_model.joint_loss.uniform import UniformWeighting
from mmeg_model.joint_loss.weighting import Weighting
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.nearest import unknown

__all__ = [
    "AGGREGATORS",
    "UNLABELLED",
    "WEIGHTINGS",
    "DWAWeighting",
    "FixedWeighting",
    "RLWWeighting",
    "SoftmaxWeighting",
    "TorchjdWeighting",
    "UncertaintyWeighting",
    "UniformWeighting",
    "Weighting",
    "make_weighting",
    "task_losses",
]

WEIGHTINGS: Final[Mapping[str, type[Weighting]]] = MappingProxyType(
    {
        "uniform": UniformWeighting,
        "fixed": FixedWeighting,
        "softmax": SoftmaxWeighting,
        "uncertainty": UncertaintyWeighting,
        "dwa": DWAWeighting,
        "rlw": RLWWeighting,
        "torchjd": TorchjdWeighting,
    }
)


def make_weighting(name: str, *, tasks: Sequence[str] = tuple(LABELS_BY_TASK), **arguments: Any) -> Weighting:
    """Make a weighting by name, such as `make_weighting("fixed", weights=[1, 0])`.

    Args:
        name: one in `WEIGHTINGS`.
        tasks: their names, in the order of the losses.
        arguments: of that weighting, beside the tasks.

    Raises:
        ValueError: if there is no weighting of that name or it has no such argument (the message says which are
            near), or an argument is missing or outside its range.
    """
    if name not in WEIGHTINGS:
        raise ValueError(unknown("weighting", name, WEIGHTINGS))
    signature = inspect.signature(WEIGHTINGS[name])
    known = [parameter for parameter in signature.parameters if parameter != "tasks"]
    for argument in arguments:
        if not known:
            raise ValueError(f"the weighting {name!r} takes no arguments, got {argument!r}")
        if argument not in known:
            raise ValueError(unknown(f"argument of the weighting {name!r},", argument, known))
    try:
        signature.bind(tasks, **arguments)
    except TypeError as error:
        raise ValueError(f"the weighting {name!r}: {error}") from None
    return WEIGHTINGS[name](tasks, **arguments)
