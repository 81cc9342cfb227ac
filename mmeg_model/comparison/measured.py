"""The results of a grid as arrays, and the quantities that are made of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mmeg_model.comparison.estimates import Quantity, Ratio
from mmeg_model.comparison.grid import Cell, Weighted
from mmeg_model.labels import LABELS_BY_TASK

Result = Mapping[str, Any]
"""What `mmeg_model.comparison.cell` wrote of a cell."""

TEST: Final = "test NLL"
TRAIN: Final = "train NLL"
GAP: Final = "gap"
UAR: Final = "UAR"
TEST_SUM: Final = f"{TEST}, unweighted sum"
GAP_SUM: Final = f"{GAP}, unweighted sum"
JOINT: Final = "joint loss"
GAP_JOINT: Final = f"{GAP}, joint loss"


@dataclass(frozen=True, eq=False)
class Measured:
    """What the networks of one weighting did, by speaker, fold and seed."""

    seeds: tuple[int, ...]
    loss_sums: Mapping[tuple[str, str], NDArray[np.float64]]
    """By side (test, train) and task, (speakers, folds, seeds), in nats."""
    clips: Mapping[tuple[str, str], NDArray[np.float64]]
    """By side and task, how many there are of each label, (speakers, folds, label); the same for all seeds."""
    hits: Mapping[tuple[str, str], NDArray[np.float64]]
    """By side and task, how many of them were told right, (speakers, folds, seeds, label)."""
    weights: Mapping[str, NDArray[np.float64]]
    """By task, (folds, seeds), of the epoch that was kept, scaled to sum to 1; NaN where they cannot be."""

    @property
    def tasks(self) -> list[str]:
        return list(self.weights)

    def of_seeds(self, seeds: Sequence[int]) -> "Measured":
        """Some of its seeds."""
        chosen = [self.seeds.index(seed) for seed in seeds]
        return Measured(
            tuple(seeds),
            {key: array[:, :, chosen] for key, array in self.loss_sums.items()},
            self.clips,
            {key: array[:, :, chosen] for key, array in self.hits.items()},
            {task: array[:, chosen] for task, array in self.weights.items()},
        )

    def loss(self, side: str, task: str, weights: NDArray[np.float64] | float = 1.0) -> Ratio:
        """The mean loss of a task, times weights, (folds, seeds)."""
        return Ratio(self.loss_sums[side, task] * weights, self.clips[side, task].sum(axis=2))

    def losses(self, side: str, weights: Mapping[str, NDArray[np.float64]] | None = None) -> Quantity:
        """The sum of the tasks' mean losses; with weights, (folds, seeds) each, the paper's joint loss under them."""
        return tuple(self.loss(side, task, weights[task] if weights else 1.0) for task in self.tasks)

    def recall(self, task: str) -> Quantity:
        """The unweighted average recall on the test side, over the labels that occur."""
        clips, hits = self.clips["test", task], self.hits["test", task]
        labels = np.flatnonzero(clips.sum(axis=(0, 1)))
        return tuple(Ratio(hits[..., label] / len(labels), clips[..., label]) for label in labels)


def gather(weighted: Weighted, results: Mapping[Cell, Result], *, num_folds: int) -> Measured | None:
    """The results of one weighting, of the seeds whose folds are all there; None if there is no such seed."""
    cells = {(cell.fold, cell.seed): result for cell, result in results.items() if cell.weighted == weighted}
    seeds = sorted({seed for _, seed in cells})
    seeds = [seed for seed in seeds if all((fold, seed) in cells for fold in range(num_folds))]
    if not seeds:
        return None
    speakers = {speaker: i for i, speaker in enumerate(speakers_of(results.values()))}
    tasks = tasks_of(results.values())
    shape = (len(speakers), num_folds, len(seeds))
    loss_sums = {(side, task): np.zeros(shape) for side in ("test", "train") for task in tasks}
    clips = {key: np.zeros((*shape[:2], len(LABELS_BY_TASK[key[1]]))) for key in loss_sums}
    hits = {key: np.zeros((*shape, len(LABELS_BY_TASK[key[1]]))) for key in loss_sums}
    weights = {task: np.zeros(shape[1:]) for task in tasks}
    for fold in range(num_folds):
        for number, seed in enumerate(seeds):
            result = cells[fold, seed]
            total = sum(result["weights"].values())
            for task in tasks:
                weights[task][fold, number] = result["weights"][task] / total if total > 0 else np.nan
                for side in ("test", "train"):
                    if of_task := result[side]["tasks"].get(task):
                        rows = [speakers[speaker] for speaker in of_task["speakers"]]
                        loss_sums[side, task][rows, fold, number] = of_task["nll_sums"]
                        confusions = np.array(of_task["confusions"])  # (speakers, label, predicted)
                        clips[side, task][rows, fold] = confusions.sum(axis=2)
                        hits[side, task][rows, fold, number] = np.diagonal(confusions, axis1=1, axis2=2)
    return Measured(tuple(seeds), loss_sums, clips, hits, weights)


def speakers_of(results: Iterable[Result]) -> list[str]:
    """All speakers of a grid's results, on either side, sorted."""
    sides = [result[side]["tasks"].values() for result in results for side in ("test", "train")]
    return sorted({speaker for tasks in sides for of_task in tasks for speaker in of_task["speakers"]})


def tasks_of(results: Iterable[Result]) -> list[str]:
    """The tasks that somebody is labelled for, in the model's order."""
    labelled = {task for result in results for task in result["test"]["tasks"]}
    return [task for task in LABELS_BY_TASK if task in labelled]


def negative(quantity: Quantity) -> Quantity:
    """The quantity times −1."""
    return tuple(Ratio(-ratio.numerators, ratio.denominators) for ratio in quantity)


def quantities(tasks: Sequence[str]) -> dict[str, Callable[[Measured], Quantity]]:
    """All that is reported of a weighting, by name; a gap is test − train."""

    def loss_of(task: str) -> Callable[[Measured], Quantity]:
        return lambda m: (m.loss("test", task),)

    def train_loss_of(task: str) -> Callable[[Measured], Quantity]:
        return lambda m: (m.loss("train", task),)

    def recall_of(task: str) -> Callable[[Measured], Quantity]:
        return lambda m: m.recall(task)

    def gap_of(task: str) -> Callable[[Measured], Quantity]:
        return lambda m: (m.loss("test", task), *negative((m.loss("train", task),)))

    return {
        TEST_SUM: lambda m: m.losses("test"),
        **{f"{TEST}, {task}": loss_of(task) for task in tasks},
        **{f"{TRAIN}, {task}": train_loss_of(task) for task in tasks},
        **{f"{UAR}, {task}": recall_of(task) for task in tasks},
        JOINT: lambda m: m.losses("test", m.weights),
        GAP_SUM: lambda m: (*m.losses("test"), *negative(m.losses("train"))),
        **{f"{GAP}, {task}": gap_of(task) for task in tasks},
        GAP_JOINT: lambda m: (*m.losses("test", m.weights), *negative(m.losses("train", m.weights))),
    }
