"""The tables of the page, in Markdown."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mmeg_model.comparison.analysis import Analysis
from mmeg_model.comparison.claims import PAPERS_METRIC, UNWEIGHTED, judge, relevant
from mmeg_model.comparison.estimates import Estimate
from mmeg_model.comparison.grid import REFERENCE, Grid
from mmeg_model.comparison.measured import GAP_JOINT, GAP_SUM, JOINT, TEST, TEST_SUM, TRAIN, UAR
from mmeg_model.comparison.run import Outcomes
from mmeg_model.labels import LABELS_BY_TASK


def claims_table(grid: Grid, analysis: Analysis) -> str:
    """Each difference that the claims rest on, and whether it is an advantage."""
    return table(
        ["against", "metric", "figure", "difference [95 %]", _AGREEMENT, "adjusted p", "lower?"],
        [
            [
                d.against,
                view,
                d.quantity,
                signed(d.estimate),
                _agreement(d.estimate),
                p_value(d.adjusted_p),
                f"**{judgement.verdict}**: {judgement.reason}",
            ]
            for view in (PAPERS_METRIC, UNWEIGHTED)
            for d in relevant(1, view, analysis.claims)
            for judgement in [judge(d, smallest_effect_nats=grid.smallest_effect_nats)]
        ],
    )


def weights_alone_table(analysis: Analysis) -> str:
    """What the differences in the paper's joint loss are made of."""
    return table(
        ["against", "joint loss, difference", "by the weights alone [95 %]", "by the networks [95 %]"],
        [
            [
                part.against,
                f"{part.by_weights.mean + part.by_networks.mean:+.3f}",
                signed(part.by_weights),
                signed(part.by_networks),
            ]
            for part in analysis.weights_alone
        ],
    )


def loss_table(grid: Grid, outcomes: Outcomes, analysis: Analysis) -> str:
    """How well each weighting does on test speakers, next to chance."""
    names = [TEST_SUM, *(f"{kind}, {task}" for kind in (TEST, UAR) for task in analysis.tasks)]
    trained = Counter(cell.weighted.label for cell in outcomes.results)
    rows = [
        [weighted.label, str(trained[weighted.label]), *_means(grid, analysis, weighted.label, names)]
        for weighted in grid.weightings
    ]
    labels = [len(LABELS_BY_TASK[task]) for task in analysis.tasks]
    chance = [sum(map(math.log, labels)), *map(math.log, labels), *(1 / number for number in labels)]
    rows.append(["*equal probabilities*", "", *(f"{value:.3f}" for value in chance)])
    return table(["weighting", "trainings", *names], rows)


def gap_table(grid: Grid, analysis: Analysis) -> str:
    """The training side, the gaps, the paper's metric, and the weights."""
    names = [*(f"{TRAIN}, {task}" for task in analysis.tasks), GAP_SUM, JOINT, GAP_JOINT]
    task = analysis.tasks[0]
    rows = []
    for label, measured in analysis.measured.items():
        share = measured.weights[task]
        weights = f"{np.mean(share):.3f}, {np.min(share):.3f} to {np.max(share):.3f}"
        rows.append([label, *_means(grid, analysis, label, names), weights])
    return table(["weighting", *names, f"weight of {task}, range"], rows)


def differences_table(analysis: Analysis) -> str:
    """All differences from the reference, quantity by quantity."""
    order = list(analysis.means[REFERENCE])
    return table(
        ["figure", "weighting", "difference [95 %]", _AGREEMENT, "p", "adjusted p"],
        [
            [
                d.quantity,
                d.weighting,
                signed(d.estimate),
                _agreement(d.estimate),
                p_value(d.estimate.p),
                p_value(d.adjusted_p),
            ]
            for d in sorted(analysis.differences, key=lambda d: order.index(d.quantity))
        ],
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def signed(estimate: Estimate) -> str:
    """A difference and its interval."""
    values = (estimate.mean, *estimate.interval)
    mean, low, high = (f"{value:+.3f}" if abs(value) >= 5e-4 else "0.000" for value in values)
    return f"{mean} [{low}, {high}]"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


_AGREEMENT = "speakers, seeds, folds of that sign"


def _agreement(estimate: Estimate) -> str:
    counts = (estimate.agreeing_speakers, estimate.agreeing_seeds, estimate.agreeing_folds)
    return ", ".join(f"{number}/{of}" for number, of in counts)


def _means(grid: Grid, analysis: Analysis, label: str, names: Sequence[str]) -> list[str]:
    """Means with their intervals, in brackets what a single task is not trained for."""
    if label not in analysis.means:
        return ["–"] * len(names)
    (trained,) = (weighted.single_task for weighted in grid.weightings if weighted.label == label)
    shown = []
    for name in names:
        e = analysis.means[label][name]
        text = f"{e.mean:.3f} [{e.interval[0]:.3f}, {e.interval[1]:.3f}]"
        apart = trained and name not in (JOINT, GAP_JOINT) and not name.endswith(f", {trained}")
        shown.append(f"({text})" if apart else text)
    return shown
