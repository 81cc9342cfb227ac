"""What configurations ask of their numbers."""

import math
from collections.abc import Callable


def require_positive(config: object, *names: str) -> None:
    """Refuse a configuration whose fields of these names, or an item of a tuple, are not positive and finite.

    Raises:
        ValueError: with the first that is not.
    """
    _require(config, names, "positive", lambda value: value > 0)


def require_at_least(least: int, config: object, *names: str) -> None:
    """Refuse a configuration whose fields of these names are less than that, or not finite.

    Raises:
        ValueError: with the first that is.
    """
    _require(config, names, f"at least {least}", lambda value: value >= least)


def require_share(config: object, *names: str) -> None:
    """Refuse a configuration whose fields of these names are not in [0, 1).

    Raises:
        ValueError: with the first that is not.
    """
    _require(config, names, "in [0, 1)", lambda value: 0 <= value < 1)


def _require(config: object, names: tuple[str, ...], range_: str, holds: Callable[[float], bool]) -> None:
    for name in names:
        value = getattr(config, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{name} must be finite, got {value}")
        if not all(map(holds, numbers)):
            raise ValueError(f"{name} must be {range_}, got {value}")
