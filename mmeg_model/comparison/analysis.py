"""From the results of a grid to means, paired differences, and the comparisons that the paper's claims rest on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mmeg_model.comparison.estimates import Estimate, Quantity, estimate, holm, minus
from mmeg_model.comparison.grid import REFERENCE, Grid, Weighted
from mmeg_model.comparison.measured import (
    GAP,
    GAP_JOINT,
    GAP_SUM,
    JOINT,
    TEST,
    TEST_SUM,
    UAR,
    Measured,
    gather,
    quantities,
    speakers_of,
    tasks_of,
)
from mmeg_model.comparison.run import Outcomes

LEARNED: Final = "softmax"
"""The weighting that the claims are about: the paper's."""


@dataclass(frozen=True)
class Difference:
    """A paired difference, the same seeds and speakers on both sides: of weighting − of against."""

    weighting: str
    against: str
    quantity: str
    num_seeds: int
    estimate: Estimate
    adjusted_p: float
    """By Holm, over its family: all differences from the reference, or all that the claims rest on."""


@dataclass(frozen=True)
class WeightsAlone:
    """What a difference in the paper's joint loss is made of; the two parts sum to it."""

    against: str
    by_weights: Estimate
    """The learned weights' networks under their own weights − the same networks under the static weights."""
    by_networks: Estimate
    """Under the static weights: the learned weights' networks − the static weights' networks."""


@dataclass(frozen=True)
class Analysis:
    """All that the page tells."""

    tasks: tuple[str, ...]
    num_speakers: int
    """That are tested."""
    measured: Mapping[str, Measured]
    """By label, of the weightings with a seed whose folds are all there."""
    means: Mapping[str, Mapping[str, Estimate]]
    """By label and quantity."""
    differences: tuple[Difference, ...]
    """From the reference, of all other weightings."""
    claims: tuple[Difference, ...]
    """Of the learned weights, from each of the static ones."""
    weights_alone: tuple[WeightsAlone, ...]


def analyse(grid: Grid, outcomes: Outcomes) -> Analysis:
    """Estimate everything; see `mmeg_model.comparison.estimates` for how."""
    tasks = tasks_of(outcomes.results.values())
    of = {w.label: gather(w, outcomes.results, num_folds=grid.folds) for w in grid.weightings}
    measured = {label: m for label, m in of.items() if m is not None}
    known = quantities(tasks)
    there = [w for w in grid.weightings if w.label in measured]

    asked = [(label, name) for label in measured for name in known]
    estimates = estimate([known[name](measured[label]) for label, name in asked])
    means: dict[str, dict[str, Estimate]] = {label: {} for label in measured}
    for (label, name), value in zip(asked, estimates, strict=True):
        means[label][name] = value

    reference = [w for w in there if w.label == REFERENCE]
    learned = [w for w in there if w.name == LEARNED][:1]
    static = [w for w in there if w.name in ("uniform", "fixed")]
    against_reference = [
        (w, r, name) for r in reference for w in there if w is not r for name in comparable(w, tasks)
    ]
    of_claims = [(w, s, name) for w in learned for s in static for name in claimed(s)]
    return Analysis(
        tasks=tuple(tasks),
        num_speakers=_num_tested(outcomes),
        measured=measured,
        means=means,
        differences=_differences(against_reference, measured, known),
        claims=_differences(of_claims, measured, known),
        weights_alone=tuple(
            _weights_alone(w, s, measured) for w in learned for s in static if _common(w, s, measured)
        ),
    )


def comparable(weighted: Weighted, tasks: Sequence[str]) -> list[str]:
    """What of a weighting can be compared with one that trains all tasks.

    Of a single task that is this task, and the paper's joint loss, in which the others have no weight: they are not
    trained, so sums over all tasks would say nothing.
    """
    if weighted.single_task:
        tasks, sums = [weighted.single_task], []
    else:
        sums = [TEST_SUM, GAP_SUM]
    return [*sums, *(f"{kind}, {task}" for kind in (TEST, UAR, GAP) for task in tasks), JOINT, GAP_JOINT]


def claimed(static: Weighted) -> list[str]:
    """What the claims compare with a static weighting: loss and gap, by the paper's metric and unweighted."""
    task = static.single_task
    return [JOINT, GAP_JOINT, *([f"{TEST}, {task}", f"{GAP}, {task}"] if task else [TEST_SUM, GAP_SUM])]


def _differences(
    asked: Sequence[tuple[Weighted, Weighted, str]],
    measured: Mapping[str, Measured],
    known: Mapping[str, Callable[[Measured], Quantity]],
) -> tuple[Difference, ...]:
    asked = [(w, against, name) for w, against, name in asked if _common(w, against, measured)]
    pairs = [(name, *_paired(w, against, measured)) for w, against, name in asked]
    estimates = estimate([minus(known[name](first), known[name](second)) for name, first, second in pairs])
    adjusted = holm([e.p for e in estimates])
    return tuple(
        Difference(w.label, against.label, name, len(first.seeds), e, p)
        for (w, against, name), (_, first, _), e, p in zip(asked, pairs, estimates, adjusted, strict=True)
    )


def _weights_alone(learned: Weighted, static: Weighted, measured: Mapping[str, Measured]) -> WeightsAlone:
    ours, theirs = _paired(learned, static, measured)
    ours_under_theirs = ours.losses("test", theirs.weights)
    by_weights, by_networks = estimate(
        [
            minus(ours.losses("test", ours.weights), ours_under_theirs),
            minus(ours_under_theirs, theirs.losses("test", theirs.weights)),
        ]
    )
    return WeightsAlone(static.label, by_weights, by_networks)


def _paired(first: Weighted, second: Weighted, measured: Mapping[str, Measured]) -> tuple[Measured, Measured]:
    seeds = _common(first, second, measured)
    return measured[first.label].of_seeds(seeds), measured[second.label].of_seeds(seeds)


def _common(first: Weighted, second: Weighted, measured: Mapping[str, Measured]) -> list[int]:
    return [seed for seed in measured[first.label].seeds if seed in measured[second.label].seeds]


def _num_tested(outcomes: Outcomes) -> int:
    return len(speakers_of({"test": r["test"], "train": {"tasks": {}}} for r in outcomes.results.values()))
