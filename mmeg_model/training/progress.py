"""How far a training is: what its checkpoint holds, and what is logged of it."""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from torch import nn
from torch.utils.tensorboard import SummaryWriter

from mmeg_model.corpora.utterance import Excerpt, Utterance
from mmeg_model.training.checkpoint import differences, load_checkpoint, load_weights, save_checkpoint
from mmeg_model.training.config import TrainingConfig
from mmeg_model.whole import written_whole

CHECKPOINT: Final = "checkpoint.pt"
LOG_FILE: Final = "log.jsonl"
TENSORBOARD: Final = "tensorboard"


class Progress:
    """The epochs that are done, the best of them, and the parts of a training that have a state."""

    def __init__(
        self, config: TrainingConfig, sides: Sequence[Sequence[Utterance]], stateful: Mapping[str, Any]
    ) -> None:
        """Nothing is done yet.

        Args:
            config: of the training.
            sides: what it is trained and validated on; on no examples, if on nothing.
            stateful: by name, what has `state_dict` and `load_state_dict`.
        """
        self.identity = {**asdict(config), "examples": _fingerprint(sides)}
        self.config = config
        self.validates = bool(sides[1])
        self.stateful = stateful
        self.history: list[dict[str, Any]] = []
        """A line of the log per epoch."""
        self.best: dict[str, Any] = {}
        """Its number, its unweighted loss and the network's weights; empty before the first. Without validation the
        last one, and its loss is 0."""

    @property
    def num_epochs(self) -> int:
        return len(self.history)

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or the last ones brought nothing."""
        patience_ends = self.best.get("epoch", 0) + self.config.patience
        return self.num_epochs >= min(self.config.num_epochs, patience_ends)

    def end_epoch(self, network: nn.Module, **by_task: dict[str, float]) -> None:
        """Note how an epoch went, and keep the network if it is the best so far.

        Raises:
            FloatingPointError: if a validation loss is not finite.
        """
        self.history.append({"epoch": self.num_epochs + 1, **by_task})
        # Unweighted: what a joint loss learned must not choose its own checkpoint.
        loss = sum(by_task["validation"].values())
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the validation loss of epoch {self.num_epochs} is {by_task['validation']}: try a lower learning rate"
            )
        if not (self.best and self.validates) or loss < self.best["loss"]:
            weights = {name: weight.detach().cpu().clone() for name, weight in network.state_dict().items()}
            self.best = {"epoch": self.num_epochs, "loss": loss, "network": weights}

    def save(self, folder: Path) -> None:
        """Write the checkpoint, then what tells of it."""
        states = {name: of_part.state_dict() for name, of_part in self.stateful.items()}
        save_checkpoint(
            folder / CHECKPOINT,
            {"identity": self.identity, "history": self.history, "best": self.best, **states},
        )
        self.write_log(folder)

    def write_log(self, folder: Path) -> None:
        """Write the log and the file of tensorboard anew: a training may have been killed before it had told of all."""
        with written_whole(folder / LOG_FILE) as log:
            log.writelines(json.dumps(line).encode() + b"\n" for line in self.history)
        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
        with SummaryWriter(folder / TENSORBOARD) as writer:
            for line in self.history:
                for kind in ("train", "validation", "weights"):
                    for task, value in line[kind].items():
                        writer.add_scalar(f"{kind}/{task}", value, line["epoch"])

    def load(self, file: Path) -> None:
        """Go on where a checkpoint stands.

        Raises:
            ValueError: if it is of another configuration or other examples; the message says what differs.
        """
        state = load_checkpoint(file)
        if missing := [name for name in ("identity", "history", "best", *self.stateful) if name not in state]:
            raise ValueError(f"{file} lacks {', '.join(missing)}: delete it to start anew")
        if different := differences(state["identity"], self.identity):
            raise ValueError(
                f"{file} is of another training ({'; '.join(different)}): take another folder, or delete it"
            )
        load_weights(self.stateful["joint_loss"], state["joint_loss"], file)
        for name, of_part in self.stateful.items():
            of_part.load_state_dict(state[name])
        self.history, self.best = state["history"], state["best"]

    def __str__(self) -> str:
        kind = "validation" if self.validates else "train"
        losses = ", ".join(f"{task} {loss:.3f}" for task, loss in self.history[-1][kind].items())
        return f"epoch {self.num_epochs}: {kind} loss {losses}"


def _fingerprint(sides: Sequence[Sequence[Utterance]]) -> str:
    """The same for the same examples in the same order, wherever their files lie."""
    digest = hashlib.sha256()
    for side in sides:
        for u in side:
            identity: tuple[object, ...] = (u.corpus, u.recording, u.speaker, u.labels)
            if isinstance(u.part, Excerpt):
                identity += (u.part.start_ms, u.part.end_ms, u.part.box, u.part.channel)
            digest.update(repr(identity).encode(errors="surrogateescape"))
        digest.update(b"|")
    return digest.hexdigest()[:16]
