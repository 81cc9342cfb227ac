"""The training, top to bottom."""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mmeg_model.bundle import to_tensors
from mmeg_model.evaluation.calibration import fit_temperature
from mmeg_model.evaluation.metrics import negative_log_likelihoods
from mmeg_model.evaluation.predictions import Predictions, predict
from mmeg_model.joint_loss import make_weighting, task_losses
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.presets import build
from mmeg_model.splits import Split
from mmeg_model.training.checkpoint import load_checkpoint, save_checkpoint
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.sampling import training_batches

BEST_CHECKPOINT: Final = "best.pt"
LOG_FILE: Final = "log.jsonl"


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training ends with."""

    network: nn.Module
    """Of the epoch with the lowest validation loss, in evaluation mode."""
    temperatures: dict[str, float]
    """Per task, fitted on the validation speakers."""
    epoch: int
    """That epoch, from 1."""
    validation_losses: dict[str, float]
    """Per task, before calibration, in nats."""


def train(config: TrainingConfig, split: Split, *, folder: Path, cache: Path) -> Trained:
    """Train on one side of a split and validate on the other.

    Args:
        config: every choice.
        split: its test side decides when to stop, which epoch is kept, and the temperatures; nothing else.
        folder: gets the best checkpoint and a line of JSON per epoch.
        cache: of decoded clips, see `load_clip`.

    Raises:
        FloatingPointError: if a loss is not finite; the message names the task. The best checkpoint stands.
    """
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    network = build(config.preset, config.sizes)
    weighting = make_weighting(config.weighting, **config.weighting_arguments)
    trained: list[dict[str, Any]] = [
        {"params": [*network.parameters()], "weight_decay": config.weight_decay},
        {"params": [*weighting.parameters()], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate)
    num_steps = config.num_epochs * math.ceil(config.clips_per_epoch / config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=num_steps, pct_start=0.1, cycle_momentum=False
    )
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay))
    best_epoch, best_losses = 0, dict.fromkeys(LABELS_BY_TASK, math.inf)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOG_FILE).unlink(missing_ok=True)

    for epoch in range(1, config.num_epochs + 1):
        network.train()
        sums, counts = torch.zeros(len(LABELS_BY_TASK)), torch.zeros(len(LABELS_BY_TASK))
        for batch, labels in training_batches(split.train, config, random, cache=cache):
            logits = network(*to_tensors(batch, torch.device("cpu")))
            losses, num_labelled = task_losses(logits, labels)
            optimizer.zero_grad()
            weighting.joint_loss(losses, num_labelled > 0).backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.max_gradient_norm)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            sums += losses.detach() * num_labelled
            counts += num_labelled
        train_losses = sums / counts.clamp(min=1)
        weighting.end_epoch(train_losses, counts > 0)

        validation = predict(average.module, split.test, cache=cache)
        validation_losses = {task: balanced_loss(of_task) for task, of_task in validation.items()}
        _log(
            folder / LOG_FILE,
            epoch=epoch,
            train=dict(zip(LABELS_BY_TASK, train_losses.tolist(), strict=True)),
            validation=validation_losses,
            weights=dict(zip(LABELS_BY_TASK, weighting.weights.tolist(), strict=True)),
        )
        # Unweighted: what a joint loss learned must not choose its own checkpoint.
        if sum(validation_losses.values()) < sum(best_losses.values()):
            best_epoch, best_losses = epoch, validation_losses
            save_checkpoint(folder / BEST_CHECKPOINT, average.module, config, epoch=epoch)
        elif epoch - best_epoch >= config.patience:
            break

    network.load_state_dict(load_checkpoint(folder / BEST_CHECKPOINT)["network"])
    validation = predict(network, split.test, cache=cache)
    temperatures = {task: fit_temperature(of_task) for task, of_task in validation.items()}
    return Trained(network, temperatures, best_epoch, best_losses)


def balanced_loss(predictions: Predictions) -> float:
    """Negative log-likelihood, the mean over corpora and sets of modalities of their means, in nats.

    So a corpus with many recordings of few speakers does not decide alone.
    """
    losses = negative_log_likelihoods(predictions)
    groups = np.char.add(np.char.add(predictions.corpora, " "), predictions.modalities)
    return float(np.mean([losses[groups == group].mean() for group in np.unique(groups)]))


def _log(file: Path, *, epoch: int, **by_task: dict[str, float]) -> None:
    with file.open("a", encoding="utf-8") as log:
        print(json.dumps({"epoch": epoch, **by_task}), file=log)
    losses = ", ".join(f"{task} {loss:.3f}" for task, loss in by_task["validation"].items())
    print(f"epoch {epoch}: validation loss {losses}", file=sys.stderr)
