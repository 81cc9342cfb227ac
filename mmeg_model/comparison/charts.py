"""The figures of the page, as PNG. By matplotlib's objects: nothing global is touched."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmeg_model.comparison.analysis import Analysis
from mmeg_model.comparison.claims import SIGNIFICANT
from mmeg_model.comparison.estimates import Estimate
from mmeg_model.comparison.grid import REFERENCE, Cell
from mmeg_model.comparison.measured import TEST, TRAIN

_GREY = "0.55"


def draw_differences(file: Path, analysis: Analysis) -> None:
    """Paired differences from the reference with their intervals, a panel for each quantity."""
    quantities = list(dict.fromkeys(d.quantity for d in analysis.differences))
    labels = list(dict.fromkeys(d.weighting for d in analysis.differences))
    num_columns = 3
    figure, panels = _panels(
        -(-len(quantities) // num_columns), num_columns, height=0.9 + 0.3 * len(labels), share_y=True
    )
    for panel, quantity in zip(panels, quantities, strict=False):
        panel.axvline(0, color=_GREY, linewidth=1)
        for d in analysis.differences:
            if d.quantity == quantity:
                low, high = d.estimate.interval
                sure = d.adjusted_p < SIGNIFICANT and not low <= 0 <= high
                _interval(panel, labels.index(d.weighting), d.estimate, color="C3" if sure else "C0")
        panel.set_title(quantity, fontsize=9)
        panel.locator_params(axis="x", nbins=4)
        panel.set_yticks(range(len(labels)), labels, fontsize=8)
        panel.set_ylim(len(labels) - 0.5, -0.5)
    for panel in panels[len(quantities) :]:
        panel.set_axis_off()
    figure.suptitle(
        f"difference from {REFERENCE}, 95 %; red: 0 is outside and adjusted p < {SIGNIFICANT:g}", fontsize=10
    )
    figure.savefig(file)


def draw_gaps(file: Path, analysis: Analysis) -> None:
    """Loss on training and on test speakers, a panel for each task; what lies between is the gap."""
    labels = list(analysis.measured)
    figure, panels = _panels(1, len(analysis.tasks), height=0.9 + 0.3 * len(labels), share_y=True)
    for panel, task in zip(panels, analysis.tasks, strict=True):
        for row, label in enumerate(labels):
            if not analysis.measured[label].weights[task].any():
                continue  # not trained for it: far off, it would squeeze the others
            test, train = (analysis.means[label][f"{side}, {task}"] for side in (TEST, TRAIN))
            panel.plot([train.mean, test.mean], [row, row], color=_GREY, linewidth=1)
            _interval(panel, row - 0.12, train, color="C0")
            _interval(panel, row + 0.12, test, color="C1")
        panel.set_title(task, fontsize=9)
        panel.set_yticks(range(len(labels)), labels, fontsize=8)
        panel.set_ylim(len(labels) - 0.5, -0.5)
    figure.suptitle("NLL in nats on training (blue) and on test speakers (orange), 95 %", fontsize=10)
    figure.savefig(file)


def draw_weights(
    file: Path, results: Mapping[Cell, Mapping[str, Any]], labels: Sequence[str], task: str
) -> None:
    """A task's share of the weights over epochs: a line for each weighting, the median of its cells, and their range."""
    figure, (panel,) = _panels(1, 1, height=3.4)
    for number, label in enumerate(labels):
        courses = [
            [
                epoch["weights"][task] / (sum(epoch["weights"].values()) or np.nan)
                for epoch in result["epochs"]
            ]
            for cell, result in results.items()
            if cell.weighted.label == label
        ]
        if courses:
            epochs = np.arange(1, max(map(len, courses)) + 1)
            shares = np.full(
                (len(courses), len(epochs)), np.nan
            )  # a training that stopped early has a shorter one
            for row, course in zip(shares, courses, strict=True):
                row[: len(course)] = course
            color = f"C{number}"
            panel.plot(epochs, np.nanmedian(shares, axis=0), color=color, marker=".", label=label)
            panel.fill_between(
                epochs,
                np.nanmin(shares, axis=0),
                np.nanmax(shares, axis=0),
                color=color,
                alpha=0.15,
                linewidth=0,
            )
    panel.set_xlabel("epoch", fontsize=9)
    panel.set_ylabel(f"weight of {task}, of all", fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file)


def _panels(
    num_rows: int, num_columns: int, *, height: float, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with panels of a height in inches."""
    figure = Figure(figsize=(8.5, height * num_rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharey=share_y)
    for panel in panels.flat:
        panel.tick_params(labelsize=8)
    return figure, list(panels.flat)


def _interval(panel: Axes, row: float, estimate: Estimate, *, color: str) -> None:
    panel.plot(estimate.interval, [row, row], color=color, linewidth=2, alpha=0.6)
    panel.plot([estimate.mean], [row], marker="o", markersize=4, color=color)
