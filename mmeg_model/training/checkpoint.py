"""A training's state on disk: one plain dict with its configuration, whole or not at all."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from mmeg_model.training.config import TrainingConfig
from mmeg_model.whole import written_whole

CHECKPOINT_FORMAT: Final = 1


def save_checkpoint(file: Path, network: nn.Module, config: TrainingConfig, *, epoch: int) -> None:
    """Write the weights of a network and what they were trained with, over an older checkpoint if there is one."""
    state = {
        "format": CHECKPOINT_FORMAT,
        "network": network.state_dict(),
        "config": asdict(config),
        "epoch": epoch,
    }
    with written_whole(file) as temporary:
        torch.save(state, temporary)


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; tensors and plain values alone, no code.

    Raises:
        ValueError: if it is of another format.
    """
    state: dict[str, Any] = torch.load(file, weights_only=True)
    if state.get("format") != CHECKPOINT_FORMAT:
        raise ValueError(f"{file} has format {state.get('format')!r}, this version reads {CHECKPOINT_FORMAT}")
    return state
