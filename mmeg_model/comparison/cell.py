"""One cell of a grid: trained, measured on both sides, and written down."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from mmeg_model.comparison.grid import Cell, Grid
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.evaluation.metrics import (
    confusion_by_speaker,
    negative_log_likelihoods,
    unweighted_average_recall,
)
from mmeg_model.evaluation.predictions import Predictions, predict
from mmeg_model.splits import Split, speaker_folds
from mmeg_model.training.loop import train
from mmeg_model.training.progress import LOG_FILE
from mmeg_model.whole import written_whole

RESULT_FILE: Final = "result.json"
FOLDS_SEED: Final = 0
"""Of the folds: the same for all cells, whatever their seed."""


def configuration_of(grid: Grid, cell: Cell, utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Whatever decides a cell's result, as plain values; where the data lie is not part of it."""
    listed = sorted(
        f"{u.corpus} {u.recording} {u.speaker} {u.emotion} {u.perceived_gender}" for u in utterances
    )
    plain = {
        "corpora": grid.corpora,
        "utterances": f"{len(listed)}, sha256 {hashlib.sha256(chr(10).join(listed).encode()).hexdigest()}",
        "folds": grid.folds,
        "fold": cell.fold,
        "validation_folds": grid.validation_folds,
        "train_clips": grid.train_clips,
        **{f"training.{name}": value for name, value in asdict(grid.training_of(cell)).items()},
    }
    return json.loads(json.dumps(plain))


def sha256_of(configuration: Mapping[str, Any]) -> str:
    """Of its canonical JSON."""
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()


def run_cell(grid: Grid, cell: Cell, utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Train a cell, and write what the comparison needs to know of it; a training that diverges is a result too.

    Its folder gets `result.json`, the training's own folder, and what the training said.
    """
    started = perf_counter()
    configuration = configuration_of(grid, cell, utterances)
    folder = grid.output / "cells" / cell.name
    # Named by the configuration: what was begun under another one must not be gone on with.
    training_folder = folder / f"training-{sha256_of(configuration)[:12]}"
    split, tested = split_of(grid, cell.fold, utterances)
    measured: dict[str, Any]
    training_folder.mkdir(parents=True, exist_ok=True)
    with (folder / "training.txt").open("a", encoding="utf-8") as told, redirect_stderr(told):
        try:
            trained = train(grid.training_of(cell), split, folder=training_folder, cache=grid.cache)
            epochs = [json.loads(line) for line in (training_folder / LOG_FILE).read_text().splitlines()]
            network = trained.network.to("cuda" if torch.cuda.is_available() else "cpu")
            measured = {
                "epoch": trained.epoch,
                "epochs": epochs,
                "weights": trained.weights,
                "test": measure(network, tested, cache=grid.cache),
                "train": measure(network, _some(split.train, grid.train_clips), cache=grid.cache),
            }
            measured |= {side: {**measured[side], **_sums(measured, side)} for side in ("test", "train")}
        except FloatingPointError as error:
            measured = {"failed": f"diverged: {error}"}
    result = {
        "configuration_sha256": sha256_of(configuration),
        "configuration": configuration,
        "versions": {"mmeg": version("mmeg"), "torch": torch.__version__},
        "seconds": round(perf_counter() - started, 1),
        **measured,
    }
    with written_whole(folder / RESULT_FILE) as file:
        file.write(json.dumps(result, indent=1, allow_nan=False).encode())
    return result


def split_of(grid: Grid, fold: int, utterances: Sequence[Utterance]) -> tuple[Split, tuple[Utterance, ...]]:
    """Training and validation speakers of a fold, and its test utterances, the same for all its cells.

    Raises:
        ValueError: if there are too few speakers.
        LeakError: if a person or a recording would be on two of the three sides.
    """
    outer = speaker_folds(utterances, grid.folds, seed=FOLDS_SEED)[fold]
    inner = speaker_folds(outer.train, grid.validation_folds, seed=FOLDS_SEED)[0]
    for side in (inner.train, inner.test):
        Split(side, outer.test)  # refuses a leak
    return inner, outer.test


def measure(network: nn.Module, utterances: Sequence[Utterance], *, cache: Path) -> dict[str, Any]:
    """Losses and confusions of a network in evaluation mode, by task and speaker, without calibration.

    Each utterance is given with all modalities that it has. A task without a label is left out.
    """
    predictions = {
        task: with_all_modalities(of_task)
        for task, of_task in predict(network, utterances, cache=cache).items()
    }
    return {"tasks": {task: _of_task(of_task) for task, of_task in predictions.items() if len(of_task)}}


def with_all_modalities(predictions: Predictions) -> Predictions:
    """Without the sound or the picture alone of an utterance that stands there with both.

    `predict` gives these two right behind both together.
    """
    both = predictions.modalities == "audio+video"
    parts = np.zeros(len(both) + 2, np.bool_)
    parts[1:-1] |= both
    parts[2:] |= both
    return predictions.where(~parts[:-2])


def _of_task(predictions: Predictions) -> dict[str, Any]:
    losses = negative_log_likelihoods(predictions)
    speakers, speaker = np.unique(predictions.speakers, return_inverse=True)
    confusion = confusion_by_speaker(predictions)
    given = Counter(zip(predictions.corpora.tolist(), predictions.modalities.tolist(), strict=True))
    return {
        "nll": float(losses.mean()),
        "uar": float(unweighted_average_recall(confusion.sum(axis=0))),
        "clips": [[*of_corpus, number] for of_corpus, number in sorted(given.items())],
        "speakers": speakers.tolist(),
        "nll_sums": np.bincount(speaker, losses).tolist(),
        "confusions": confusion.tolist(),
    }


def _sums(measured: Mapping[str, Any], side: str) -> dict[str, float]:
    """For whoever reads the file; the weights as they stand, where the page scales them to sum to 1."""
    losses = {task: of_task["nll"] for task, of_task in measured[side]["tasks"].items()}
    return {
        "unweighted_sum": sum(losses.values()),
        "joint_loss": sum(measured["weights"][task] * loss for task, loss in losses.items()),
    }


def _some(utterances: Sequence[Utterance], number: int) -> list[Utterance]:
    """At most so many, always the same ones."""
    chosen = np.random.default_rng(FOLDS_SEED).permutation(len(utterances))[:number]
    return [utterances[i] for i in sorted(chosen)]
