"""The training, top to bottom."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mmeg_model.corpora import corpus_named
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.evaluation.calibration import fit_temperature
from mmeg_model.evaluation.metrics import negative_log_likelihoods
from mmeg_model.evaluation.predictions import Predictions, predict
from mmeg_model.joint_loss import UNLABELLED, Weighting, make_weighting, task_losses
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.compact import CompactNetwork
from mmeg_model.networks.paper import PaperNetwork
from mmeg_model.networks.paper_video import load_backbone_weights
from mmeg_model.networks.presets import build
from mmeg_model.splits import SpeakerLeakingSplit, Split
from mmeg_model.training.checkpoint import load_weights
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.failures import DEAD_WORKER, dead_worker_explained, out_of_memory_explained
from mmeg_model.training.progress import CHECKPOINT, Progress
from mmeg_model.training.sampling import Batch, TrainingBatches, batch_loader, decodable, sounds


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training ends with."""

    network: nn.Module
    """Of the epoch with the lowest validation loss, of the last one without validation; in evaluation mode, on the CPU."""
    temperatures: dict[str, float]
    """Per task, fitted on the validation speakers' recordings; 1 without."""
    epoch: int
    """That epoch, from 1."""
    validation_losses: dict[str, float]
    """Per task, before calibration, in nats; empty without validation."""
    weights: dict[str, float]
    """Of the joint loss, per task, behind that epoch; its mean where each step has weights of its own."""


class JointLoss(nn.Module):
    """Network and weighting as one module: what is trained, and what processes share the gradients of."""

    def __init__(self, network: nn.Module, weighting: Weighting) -> None:
        super().__init__()
        self.network = network
        self.weighting = weighting

    def forward(self, batch: Batch, factors: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
        """The joint loss, and the mean loss per task over what this process has of it, (tasks,).

        Args:
            batch: of this process.
            factors: (tasks,): what makes of this process' means its part of those over all processes.
            labelled: (tasks,), bool, which tasks have a label in any process.
        """
        losses, _ = task_losses(self.network(*batch.clips), batch.labels)
        with torch.autocast(losses.device.type, enabled=False):
            return self.weighting.joint_loss(losses.float() * factors, labelled), losses.detach()


@dead_worker_explained()
def train(
    config: TrainingConfig,
    split: Split | SpeakerLeakingSplit,
    *,
    folder: Path,
    cache: Path,
    num_workers: int = 0,
) -> Trained:
    """Train on one side of a split and validate on another; go on where an earlier call was interrupted.

    In several processes, if started by `accelerate launch`; on a GPU, if there is one.

    Args:
        config: every choice.
        split: its `held_out` side decides when to stop, which epoch is kept, and the temperatures; nothing else. If
            nobody is on it, all epochs are trained and the last one is kept.
        folder: gets a checkpoint behind each epoch, a line of JSON per epoch, and the files of tensorboard. On
            the CPU a training that was killed and started again ends with the same weights, bit for bit.
        cache: of decoded clips, see `load_clip`.
        num_workers: processes that prepare batches meanwhile; the results do not depend on it.

    Raises:
        ValueError: if the folder holds a training of another configuration, or on other examples, or the
            backbone's weights do not fit.
        FloatingPointError: if a loss or a gradient is not finite; the message names the task or the step.
        MemoryError: if a step needs more memory than there is.
        OSError: if the folder cannot be written, clips cannot be decoded time after time, or a worker was killed.
        In all of these the last checkpoint stands.
    """
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        # A batch without a picture leaves the picture's branch without gradients.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if config.batch_size < accelerator.num_processes:
        raise ValueError(
            f"{config.batch_size = } must be at least {accelerator.num_processes}, one clip a process"
        )
    _check_labelled(split.train)
    torch.manual_seed(config.seed)
    network = build(config.preset, config.sizes)
    if isinstance(network, PaperNetwork) and config.backbone_weights:
        try:
            load_backbone_weights(network.video.backbone, config.backbone_weights)
        except OSError as error:
            raise ValueError(f"backbone weights: {error}") from error
    if isinstance(network, CompactNetwork) and not (folder / CHECKPOINT).exists():
        samples, samples_valid = sounds(split.train, config, cache=cache)
        if len(samples) > 1:
            network.measure(samples, samples_valid)
    if accelerator.device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    weighting = make_weighting(config.weighting, **config.weighting_arguments)
    joint_loss = JointLoss(network, weighting).to(accelerator.device)
    optimizer = torch.optim.AdamW(
        [
            {"params": [*network.parameters()], "weight_decay": config.weight_decay},
            {"params": [*weighting.parameters()], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        config.learning_rate,
        total_steps=config.num_epochs * config.steps_per_epoch,
        pct_start=0.1,
        cycle_momentum=False,
    )
    # Buffers too: else averaged weights would meet the batch statistics of others.
    average = AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay), use_buffers=True
    )
    progress = Progress(
        config,
        (split.train, split.held_out),
        {"joint_loss": joint_loss, "average": average, "optimizer": optimizer, "schedule": schedule},
    )
    if (folder / CHECKPOINT).exists():
        progress.load(folder / CHECKPOINT)
        if accelerator.is_main_process:
            progress.write_log(folder)
    held_out = decodable(split.held_out, cache=cache)
    prepared, optimizer = accelerator.prepare(joint_loss, optimizer)
    batches = TrainingBatches(
        split.train,
        config,
        cache=cache,
        process=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    first_step = progress.num_epochs * config.steps_per_epoch
    loader = iter(batch_loader(batches, first_step=first_step, num_workers=num_workers))

    while not progress.is_over:
        joint_loss.train()
        sums, counts, weights = torch.zeros(3, len(LABELS_BY_TASK), device=accelerator.device)
        started, waited_seconds = time.monotonic(), 0.0
        for step in range(first_step, first_step + config.steps_per_epoch):
            asked = time.monotonic()
            batch = _to_device(_next(loader), accelerator.device)
            waited_seconds += time.monotonic() - asked
            # Dropout depends on the step alone: nothing of chance needs to be kept in a checkpoint.
            torch.manual_seed(_step_seed(config.seed, step, accelerator.process_index))
            num_labelled = torch.stack([(labels != UNLABELLED).sum() for labels in batch.labels.values()])
            # Labels may be missing unevenly, so what counts is their number in all processes; gradients are
            # averaged over processes, hence the number of those.
            num_in_all = accelerator.reduce(num_labelled, "sum")
            factors = accelerator.num_processes * num_labelled / num_in_all.clamp(min=1)
            if isinstance(network, CompactNetwork):
                network.video.face_network.requires_grad_(batch.teaches_faces)
            optimizer.zero_grad()
            with out_of_memory_explained(config):
                loss, losses = prepared(batch, factors, num_in_all > 0)
                accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(network.parameters(), config.max_gradient_norm)
            if not norm.isfinite():
                raise FloatingPointError(
                    f"the gradient of step {step + 1} has norm {norm.item()}: try a lower learning rate"
                )
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            sums += losses * num_labelled
            counts += num_labelled
            weights += weighting.weights / config.steps_per_epoch
        first_step += config.steps_per_epoch
        trained_seconds = time.monotonic() - started
        sums, counts = accelerator.reduce(sums, "sum"), accelerator.reduce(counts, "sum")
        train_losses = sums / counts.clamp(min=1)
        weighting.end_epoch(train_losses, counts > 0)

        validation = predict(average.module, held_out, cache=cache)
        # All processes validate, and the first one's word holds: not even a last bit may part them.
        losses_of_held_out = _balanced_losses(validation) if held_out else {}
        (validation_losses,) = broadcast_object_list([losses_of_held_out])
        progress.end_epoch(
            average.module,
            train=_by_task(train_losses),
            validation=validation_losses,
            weights=_by_task(weights if weighting.new_each_step else weighting.weights),
        )
        if accelerator.is_main_process:
            progress.save(folder)
            rate = config.steps_per_epoch * config.batch_size / trained_seconds
            waiting = waited_seconds / trained_seconds
            print(f"{progress}; {rate:.1f} clips/s, waited for clips {waiting:.1%}", file=sys.stderr)

    load_weights(network, progress.best["network"], folder / CHECKPOINT)
    validation = predict(network, held_out, cache=cache)
    temperatures = {task: fit_temperature(of_recordings(of_task)) for task, of_task in validation.items()}
    best = progress.history[progress.best["epoch"] - 1]
    accelerator.end_training()
    return Trained(network.cpu(), temperatures, best["epoch"], best["validation"], best["weights"])


def _check_labelled(utterances: Sequence[Utterance]) -> None:
    """Refuse a training without a label, and say so if a task has none."""
    without = [task for task in LABELS_BY_TASK if all(u.labels[task] is None for u in utterances)]
    if len(without) == len(LABELS_BY_TASK):
        raise ValueError(f"none of {len(utterances)} utterances to train on has a label")
    for task in without:
        print(
            f"nobody who is trained on is labelled for {task}: what the network says of it will mean nothing",
            file=sys.stderr,
        )


def _balanced_losses(predictions: Mapping[str, Predictions]) -> dict[str, float]:
    return {task: balanced_loss(of_task) for task, of_task in predictions.items()}


def balanced_loss(predictions: Predictions) -> float:
    """Negative log-likelihood, the mean over corpora and sets of modalities of their means, in nats.

    So a corpus with many recordings of few speakers does not decide alone. Of a task without a label it is 0.
    """
    if not len(predictions):
        return 0.0
    losses = negative_log_likelihoods(predictions)
    groups = np.char.add(np.char.add(predictions.corpora, " "), predictions.modalities)
    return float(np.mean([losses[groups == group].mean() for group in np.unique(groups)]))


def _next(loader: Iterator[Batch]) -> Batch:
    """The next batch.

    Raises:
        OSError: if it cannot be made, or the worker that makes it has died.
    """
    try:
        return next(loader)
    except (ConnectionError, EOFError) as error:
        raise OSError(DEAD_WORKER.format(error)) from error
    except OSError as error:  # of a worker, it tells of its whole stack
        raise OSError(str(error).strip().splitlines()[-1].removeprefix("OSError: ")) from error


def of_recordings(predictions: Predictions) -> Predictions:
    """Without stills, if there are others: a temperature is for clips, and stills would outnumber them."""
    recordings = np.array([not corpus_named(corpus).stills for corpus in predictions.corpora], np.bool_)
    return predictions.where(recordings) if recordings.any() else predictions


def _to_device(batch: Batch, device: torch.device) -> Batch:
    return batch._replace(
        clips=tuple(array.to(device, non_blocking=True) for array in batch.clips),
        labels={task: of_task.to(device, non_blocking=True) for task, of_task in batch.labels.items()},
    )


def _step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0])


def _by_task(values: Tensor) -> dict[str, float]:
    return dict(zip(LABELS_BY_TASK, values.tolist(), strict=True))
