"""Joint losses: one weighting a file, one protocol."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, get_type_hints

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
from mmeg_model.plain_values import held, required_by

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


def make_weighting(name: str, tasks: Sequence[str] = tuple(LABELS_BY_TASK), /, **arguments: Any) -> Weighting:
    """Make a weighting by name, such as `make_weighting("fixed", weights=[1, 0])`.

    Args:
        name: one in `WEIGHTINGS`.
        tasks: their names, in the order of the losses.
        arguments: of that weighting, beside the tasks.

    Raises:
        ValueError: if there is no weighting of that name or it has no such argument (the message says which are
            near), or an argument is missing, of another type or outside its range.
    """
    if name not in WEIGHTINGS:
        raise ValueError(unknown("weighting", name, WEIGHTINGS))
    weighting = WEIGHTINGS[name]
    hints = get_type_hints(weighting.__init__)
    known = {argument: hints[argument] for argument in hints if argument not in ("tasks", "return")}
    if arguments and not known:
        raise ValueError(f"the weighting {name!r} takes no arguments, got {', '.join(map(repr, arguments))}")
    return weighting(
        tasks,
        **held(
            arguments,
            known,
            required=[argument for argument in required_by(weighting) if argument in known],
            before=f"the weighting {name!r}: ",
            kind=f"argument of the weighting {name!r},",
        ),
    )
