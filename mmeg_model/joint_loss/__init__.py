"""Joint losses: one weighting a file, one protocol."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from mmeg_model.joint_loss.fixed import FixedWeighting
from mmeg_model.joint_loss.task_losses import UNLABELLED, task_losses
from mmeg_model.joint_loss.uniform import UniformWeighting
from mmeg_model.joint_loss.weighting import Weighting
from mmeg_model.nearest import unknown

__all__ = [
    "UNLABELLED",
    "WEIGHTINGS",
    "FixedWeighting",
    "UniformWeighting",
    "Weighting",
    "make_weighting",
    "task_losses",
]

WEIGHTINGS: Final[Mapping[str, Callable[..., Weighting]]] = MappingProxyType(
    {"uniform": UniformWeighting, "fixed": FixedWeighting}
)


def make_weighting(name: str, **arguments: Any) -> Weighting:
    """Make a weighting by name, such as `make_weighting("fixed", weights=[1, 0])`.

    Raises:
        ValueError: if there is none of that name; the message says which are near.
    """
    if name not in WEIGHTINGS:
        raise ValueError(unknown("weighting", name, WEIGHTINGS))
    return WEIGHTINGS[name](**arguments)
