"""The network, its data and its training. Imports no Beam, and this file no torch."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmeg_model.bundle import Model

__all__ = ["load"]


def load(bundle: str | Path | None = None, *, device: str = "cpu") -> "Model":
    """Load a trained model, None being the one that ships: see `mmeg_model.bundle.load`."""
    from mmeg_model.bundle import load as load_bundle  # here, since it imports torch

    return load_bundle(bundle, device=device)
