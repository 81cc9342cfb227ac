"""What `mmeg compare CONFIG` compares: a TOML file -> the cells of a grid.

data = "corpora"              # a folder with a folder for each corpus; relative to the file; or --data
corpora = ["javanese-av", "ravdess-speech"]
output = "runs/joint_loss"    # the cells and the page; relative to the file; or --output
weightings = [
  "uniform",                  # must be there: differences are against it
  "softmax",
  { name = "fixed", label = "emotion-only", arguments = { weights = [1, 0] } },
]
seeds = 5                     # 0 to 4; or a list
folds = 4                     # over speakers; each speaker is tested in one

[training]                    # what differs from `TrainingConfig`; no weighting and no seed
num_epochs = 10
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from mmeg_model.corpora.decoded import default_cache
from mmeg_model.joint_loss import make_weighting
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.networks.presets import build
from mmeg_model.plain_values import from_plain, read_toml
from mmeg_model.ranges import require_at_least, require_positive
from mmeg_model.training.config import TrainingConfig

REFERENCE: Final = "uniform"
"""The label of the weighting that the others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """One of the weightings of a grid.

    Raises:
        ValueError: if the weighting cannot be made, or its label cannot be part of a folder's name.
    """

    name: str
    label: str
    """What it is called in the page, and in the names of its cells."""
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        make_weighting(self.name, **self.arguments)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.label):
            raise ValueError(f"label {self.label!r} must be of letters, digits, '_', '.' and '-'")

    @classmethod
    def from_plain(cls, plain: str | Mapping[str, Any]) -> Self:
        """Make one from a name or a table, as TOML gives them.

        Raises:
            ValueError: if it is none of the two, a key is unknown (the message says which are near), a value is of
                another type, or the weighting cannot be made.
        """
        if not isinstance(plain, str | Mapping):
            raise ValueError(f"a weighting must be a name or a table, got {plain!r}")
        table = {"name": plain} if isinstance(plain, str) else plain
        if "name" not in table:
            raise ValueError(f"a weighting must have a name, got {table}")
        values = {"name": table["name"], "label": table["name"], **table}
        return from_plain(cls, values, table="weightings", kind="key of a weighting")

    @property
    def single_task(self) -> str | None:
        """The task that alone is trained, if it is so."""
        if self.name != "fixed":
            return None
        weights = dict(zip(LABELS_BY_TASK, self.arguments["weights"], strict=True))
        trained = [task for task, weight in weights.items() if weight]
        return trained[0] if len(trained) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is compared on what, and where it goes.

    Raises:
        ValueError: if a value is outside its range, or the network cannot be made.
    """

    data: Path
    corpora: tuple[str, ...]
    output: Path
    weightings: tuple[Weighted, ...]
    seeds: tuple[int, ...]
    folds: int
    validation_folds: int = 6
    """One in so many speakers of a fold's training side is left out of training, to decide when to stop."""
    train_clips: int = 256
    """Of each fold's training side that the training loss is measured on, drawn once for all its cells."""
    smallest_effect_nats: float = 0.05
    """A claim of an advantage is turned down where one of this size is excluded."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    cache: Path = field(default_factory=default_cache)
    """Of decoded clips."""
    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Trainings at the same time, each in one thread."""

    def __post_init__(self) -> None:
        if not self.corpora:
            raise ValueError("corpora must not be empty")
        require_positive(self, "train_clips", "smallest_effect_nats", "jobs")
        require_at_least(2, self, "folds", "validation_folds")
        labels = [weighted.label for weighted in self.weightings]
        for name, values in (("labels of weightings", labels), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must be given, each once, got {list(values)}")
        if REFERENCE not in {w.label for w in self.weightings if w.name == REFERENCE}:
            raise ValueError(
                f"weightings must include {REFERENCE!r} under that label, got {', '.join(labels)}: differences "
                "are against it"
            )
        build(self.training.preset, self.training.sizes)
        for weighted in self.weightings:
            for seed in self.seeds:
                self.training_of(Cell(weighted, seed, fold=0))

    @property
    def cells(self) -> "list[Cell]":
        """All of them, weightings in turn, so that what is done of a grid is comparable."""
        return [
            Cell(weighted, seed, fold)
            for seed in self.seeds
            for fold in range(self.folds)
            for weighted in self.weightings
        ]

    def training_of(self, cell: "Cell") -> TrainingConfig:
        """The choices of a cell's training; cells of one seed start from one network and draw the same examples."""
        return replace(
            self.training,
            weighting=cell.weighted.name,
            weighting_arguments=dict(cell.weighted.arguments),
            seed=cell.seed,
        )


@dataclass(frozen=True)
class Cell:
    """One training of a grid."""

    weighted: Weighted
    seed: int
    fold: int
    """From 0."""

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.weighted.label}-seed{self.seed}-fold{self.fold}"


def read_grid(file: Path, given: Mapping[str, Any] | None = None) -> Grid:
    """Read a TOML file.

    Args:
        file: paths in it are relative to it.
        given: values of `Grid` that go before those of the file, paths as they stand.

    Raises:
        ValueError: if it is not TOML, a key, weighting or preset is unknown (the message says which are near), a
            key is missing, or a value is of another type or outside its range.
    """
    plain = read_toml(file) | dict(given or {})
    try:
        if isinstance(plain.get("weightings"), list):
            plain["weightings"] = tuple(Weighted.from_plain(entry) for entry in plain["weightings"])
        if isinstance(seeds := plain.get("seeds"), int) and not isinstance(seeds, bool):
            plain["seeds"] = tuple(range(seeds))
        plain["training"] = _training(plain.get("training", {}), file.parent)
        return from_plain(Grid, plain, kind="key", folder=file.parent)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _training(values: Mapping[str, Any], folder: Path) -> TrainingConfig:
    training = TrainingConfig.from_plain(values, folder=folder)
    for name in ("weighting", "weighting_arguments", "seed"):
        if name in values:
            raise ValueError(f"{name} is the grid's to choose: take it out of [training]")
    return training
