"""A training's state on disk: one file of tensors and plain values, whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from mmeg_model.whole import written_whole

CHECKPOINT_FORMAT: Final = 2


def save_checkpoint(file: Path, state: Mapping[str, Any]) -> None:
    """Write a state over an older one, if there is one.

    Raises:
        OSError: if it cannot be written, for instance since the disk is full. The older one stands.
    """
    try:
        with written_whole(file) as temporary:
            torch.save({"format": CHECKPOINT_FORMAT, **state}, temporary)
    except (OSError, RuntimeError) as error:  # the writer of torch has its own words for a full disk
        raise OSError(
            f"{file} cannot be written ({error}): make room and run it again, it goes on from the last checkpoint"
        ) from error


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; tensors and plain values alone, no code.

    Raises:
        ValueError: if it is no checkpoint, or one of another format.
    """
    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
    except OSError:
        raise
    except Exception as error:  # bytes from outside: torch raises whatever its parser trips over
        raise ValueError(f"{file} is no checkpoint: delete it to start anew") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != CHECKPOINT_FORMAT:
        raise ValueError(
            f"{file} has format {found!r}, this version reads {CHECKPOINT_FORMAT}: delete it to start anew"
        )
    return state


def load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], file: Path) -> None:
    """Put weights into a network of the same architecture.

    Raises:
        ValueError: if it is another; the message names the first weight that does not fit.
    """
    expected = network.state_dict()
    for name in [*expected, *weights]:
        shape, found = (tuple(w[name].shape) if name in w else None for w in (expected, weights))
        if shape != found:
            raise ValueError(f"{file} is of another architecture: {name} is {found}, expected {shape}")
    network.load_state_dict(weights)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two configurations differ in, as `name: before, now after`."""
    names = [*now, *(name for name in before if name not in now)]
    return [
        f"{name}: {before.get(name)!r}, now {now.get(name)!r}"
        for name in names
        if before.get(name) != now.get(name)
    ]
