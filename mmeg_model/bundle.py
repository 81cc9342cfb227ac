"""A trained model on disk, read and written; safetensors alone, no pickle."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as dump
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
from mmeg_model.whole import written_whole


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network, ready to predict."""

    name: str
    sha256: str
    """Of config.json (calibration included) and model.safetensors, see `identity`."""
    network: nn.Module
    temperatures: Mapping[str, float]
    """Per task; logits are divided by it before the softmax (Guo et al. 2017, arXiv 1706.04599)."""
    joint_loss: Mapping[str, Any] | None = None
    """How it was trained, `{"weighting": name, "weights": {task: weight}}`; None: its bundle does not say."""
    training_speakers: Collection[str] | None = None
    """Whom it was trained on; None: its bundle does not say."""

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
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:  # JSON may hold whatever it likes
        raise BundleError(f"{folder / CONFIG_FILE}: preset and sizes make no network: {error}") from error
    _load_weights(network, folder / WEIGHTS_FILE)
    name, sha256 = identity(folder)
    temperatures = {task: config["temperatures"][task] for task in LABELS_BY_TASK}
    return Model(
        name,
        sha256,
        network.eval().to(device),
        temperatures,
        joint_loss=config.get("joint_loss"),
        training_speakers=config.get("training_speakers"),
    )


def save(
    folder: Path,
    network: nn.Module,
    *,
    name: str,
    preset: str,
    sizes: Mapping[str, Any],
    temperatures: Mapping[str, float],
    joint_loss: Mapping[str, Any] | None = None,
    training_speakers: Collection[str] | None = None,
) -> None:
    """Write config.json and model.safetensors into a folder that is made if need be.

    Args:
        folder: of the bundle.
        network: its weights are what is stored.
        name: of the model.
        preset: of the network.
        sizes: of the network, where they differ from the preset's.
        temperatures: per task.
        joint_loss: `{"weighting": name, "weights": {task: weight}}`, the weights as they stood when the network
            did; evaluation knows the paper's joint loss by it.
        training_speakers: everybody whose clips had a part in the network or its calibration, those that decided
            when to stop too; evaluation warns of them.

    Raises:
        BundleError: if there is not a finite weight for each task.
    """
    if joint_loss is not None:
        _check_joint_loss(folder, joint_loss)
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "name": name,
        "preset": preset,
        "sizes": complete_sizes(preset, sizes),
        "labels": LABELS_BY_TASK,
        "temperatures": dict(temperatures),
    }
    if joint_loss is not None:
        config["joint_loss"] = {**joint_loss, "weights": dict(joint_loss["weights"])}
    if training_speakers is not None:
        config["training_speakers"] = sorted(set(training_speakers))
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with written_whole(folder / WEIGHTS_FILE) as file:
        file.write(dump(weights))
    with written_whole(folder / CONFIG_FILE) as file:
        file.write(f"{json.dumps(config, indent=2)}\n".encode())


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    if missing := [
        name for name in ("name", "labels", "preset", "sizes", "temperatures") if name not in config
    ]:
        raise BundleError(f"{folder / CONFIG_FILE} lacks {', '.join(missing)}")
    labels = {task: list(of_task) for task, of_task in LABELS_BY_TASK.items()}
    if config["labels"] != labels:
        raise BundleError(
            f"{folder} was trained for the labels {config['labels']}, this version has {labels}"
        )
    temperatures = config["temperatures"]
    if not _one_number_a_task(temperatures) or not all(t > 0 for t in temperatures.values()):
        raise BundleError(
            f"{folder / CONFIG_FILE}: temperatures must be positive numbers, one for each of {', '.join(labels)}, "
            f"got {temperatures}"
        )
    if (joint_loss := config.get("joint_loss")) is not None:
        _check_joint_loss(folder, joint_loss)
    speakers = config.get("training_speakers")
    if speakers is not None and not (
        isinstance(speakers, list) and all(isinstance(speaker, str) for speaker in speakers)
    ):
        raise BundleError(f"{folder / CONFIG_FILE}: training_speakers must be a list of names")


def _check_joint_loss(folder: Path, joint_loss: Any) -> None:
    if (
        not isinstance(joint_loss, Mapping)
        or joint_loss.keys() != {"weighting", "weights"}
        or not isinstance(joint_loss["weighting"], str)
        or not _one_number_a_task(joint_loss["weights"])
    ):
        raise BundleError(
            f"{folder / CONFIG_FILE}: joint_loss must hold the name of a weighting and the weights, a finite number "
            f"for each of {', '.join(LABELS_BY_TASK)}, got {joint_loss}"
        )


def _one_number_a_task(values: Any) -> bool:
    return (
        isinstance(values, Mapping)
        and values.keys() == LABELS_BY_TASK.keys()
        and all(isinstance(v, int | float) and math.isfinite(v) for v in values.values())
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
