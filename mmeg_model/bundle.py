"""A trained model on disk, read and written; safetensors alone, no pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mmeg_model.bundle_identity import (
    BUNDLE_FORMAT,
    CONFIG_FILE,
    WEIGHTS_FILE,
    BundleError,
    bundle_folder,
    identity,
    read_config,
)
from mmeg_model.clip import ClipBatch
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.presets import build, complete_sizes


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network, ready to predict."""

    name: str
    sha256: str
    """Of config.json (calibration included) and model.safetensors, see `identity`."""
    network: nn.Module
    temperatures: Mapping[str, float]
    """Per task; logits are divided by it before the softmax (Guo et al. 2017, arXiv 1706.04599)."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of `LABELS_BY_TASK`."""
        return tuple(self.temperatures)

    @torch.inference_mode()
    def predict(self, batch: ClipBatch) -> dict[str, NDArray[np.float32]]:
        """Calibrated probabilities per task, (B, labels), in the order of `LABELS_BY_TASK`.

        Those of a clip depend on neither its neighbours nor padding, beyond 1e-4.
        """
        logits = self.network(*to_tensors(batch, next(self.network.parameters()).device))
        return {
            task: (logits[task].float() / temperature).softmax(dim=-1).cpu().numpy()
            for task, temperature in self.temperatures.items()
        }


def to_tensors(batch: ClipBatch, device: torch.device) -> tuple[torch.Tensor, ...]:
    """The four arrays of a batch as the networks take them, still uint8 and int16."""
    arrays = (batch.frames, batch.frames_valid, batch.samples, batch.samples_valid)
    return tuple(torch.from_numpy(array).to(device) for array in arrays)


def load(bundle: str | Path | None = None, *, device: str = "cpu") -> Model:
    """Load a bundle; None is the one that ships.

    Raises:
        BundleError: if it is no bundle, holds a pickle, is of another format, or its weights do not fit its
            config (the first that does not is named).
    """
    folder = bundle_folder(bundle)
    config = read_config(folder)
    _check_config(folder, config)
    try:
        network = build(config["preset"], config["sizes"])
    except ValueError as error:
        raise BundleError(f"{folder / CONFIG_FILE}: {error}") from error
    _load_weights(network, folder / WEIGHTS_FILE)
    name, sha256 = identity(folder)
    temperatures = {task: config["temperatures"][task] for task in LABELS_BY_TASK}
    return Model(name, sha256, network.eval().to(device), temperatures)


def save(
    folder: Path,
    network: nn.Module,
    *,
    name: str,
    preset: str,
    sizes: Mapping[str, Any],
    temperatures: Mapping[str, float],
) -> None:
    """Write config.json and model.safetensors into a folder that is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "format": BUNDLE_FORMAT,
        "name": name,
        "preset": preset,
        "sizes": complete_sizes(preset, sizes),
        "labels": LABELS_BY_TASK,
        "temperatures": dict(temperatures),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / WEIGHTS_FILE
    )


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    if missing := [name for name in ("labels", "preset", "sizes", "temperatures") if name not in config]:
        raise BundleError(f"{folder / CONFIG_FILE} lacks {', '.join(missing)}")
    labels = {task: list(of_task) for task, of_task in LABELS_BY_TASK.items()}
    if config["labels"] != labels:
        raise BundleError(
            f"{folder} was trained for the labels {config['labels']}, this version has {labels}"
        )
    temperatures = config["temperatures"]
    if temperatures.keys() != labels.keys() or not all(t > 0 for t in temperatures.values()):
        raise BundleError(
            f"{folder / CONFIG_FILE}: temperatures must be positive numbers, one for each of {', '.join(labels)}, "
            f"got {temperatures}"
        )


def _load_weights(network: nn.Module, file: Path) -> None:
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise BundleError(
            f"{file} is no safetensors file ({error}); a pickle under that name is refused"
        ) from error
    expected = network.state_dict()
    for name in [*expected, *weights]:
        shape, found = (tuple(w[name].shape) if name in w else None for w in (expected, weights))
        if shape != found:
            raise BundleError(f"{file} does not fit its {CONFIG_FILE}: {name} is {found}, expected {shape}")
    network.load_state_dict(weights)
