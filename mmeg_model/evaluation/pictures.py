"""The figures of an evaluation as pictures. Nothing of pyplot: no window, no state, no backend to choose."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from mmeg_model.evaluation.report import Figures
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.whole import written_whole

_INCHES: Final = 3.2
"""Of a panel's side."""
_MARKERS: Final = {"audio+video": "o", "audio": "s", "video": "^"}


def draw(figures: Sequence[Figures], folder: Path) -> list[Path]:
    """Draw figures to PNG files in a folder that is made if need be.

    Per corpus, a row of panels for each task and a column for each set of modalities: `confusion-<corpus>.png`, and
    `reliability-<corpus>.png` (Guo et al. 2017, figure 1). For all of them: `recall-by-modality.png`.

    Args:
        figures: of whatever tasks, corpora and sets of modalities, one for each combination at most.
        folder: of the files.

    Returns:
        The files.
    """
    pictures = {}
    for corpus in dict.fromkeys(f.corpus for f in figures):
        of_corpus = [f for f in figures if f.corpus == corpus]
        pictures[f"confusion-{corpus}.png"] = _panels(of_corpus, _confusion)
        pictures[f"reliability-{corpus}.png"] = _panels(of_corpus, _reliability)
    pictures["recall-by-modality.png"] = _recall_by_modality(figures)
    for name, picture in pictures.items():
        with written_whole(folder / name) as file:
            FigureCanvasAgg(picture).print_png(file)
    return [folder / name for name in pictures]


def _panels(figures: Sequence[Figures], draw_panel: Callable[[Axes, Figures], None]) -> Picture:
    tasks = list(dict.fromkeys(f.task for f in figures))
    modalities = sorted({f.modalities for f in figures})
    picture = Picture(
        figsize=(_INCHES * len(modalities) + 1, _INCHES * len(tasks) + 1), layout="constrained", dpi=120
    )
    panels = picture.subplots(len(tasks), len(modalities), squeeze=False)
    for panel in panels.flat:
        panel.set_visible(False)  # a task may lack a set of modalities
    for f in figures:
        panel = panels[tasks.index(f.task), modalities.index(f.modalities)]
        panel.set_visible(True)
        panel.set_title(
            f"{f.task}, {f.modalities}\n{f.num_clips} clips, {f.num_speakers} speakers", fontsize=9
        )
        draw_panel(panel, f)
    picture.suptitle(figures[0].corpus)
    return picture


def _confusion(panel: Axes, figures: Figures) -> None:
    counts = np.array(figures.confusion)
    recalls = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    panel.imshow(recalls, vmin=0, vmax=1, cmap="Blues")
    labels = LABELS_BY_TASK[figures.task]
    panel.set_xticks(range(len(labels)), labels, fontsize=8)
    panel.set_yticks(range(len(labels)), labels, fontsize=8)
    panel.set_xlabel("predicted", fontsize=8)
    panel.set_ylabel("label", fontsize=8)
    for (row, column), count in np.ndenumerate(counts):
        share = recalls[row, column]
        panel.text(
            column,
            row,
            f"{share:.2f}\n{count}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.5 else "black",
        )


def _reliability(panel: Axes, figures: Figures) -> None:
    bins = figures.reliability
    panel.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    panel.bar(
        [of_bin.low for of_bin in bins],
        [of_bin.num_clips / figures.num_clips for of_bin in bins],
        width=[of_bin.high - of_bin.low for of_bin in bins],
        align="edge",
        color="lightgrey",
        label="share of the clips",
    )
    panel.plot(
        [of_bin.mean_confidence for of_bin in bins],
        [of_bin.accuracy for of_bin in bins],
        marker="o",
        markersize=4,
        label="accuracy",
    )
    panel.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    panel.set_xlabel(f"confidence (ECE {figures.calibration_error:.3f})", fontsize=8)
    panel.legend(loc="upper left", fontsize=7)


def _recall_by_modality(figures: Sequence[Figures]) -> Picture:
    """Unweighted average recalls with their intervals, a panel for each task; where one speaker is alone, none."""
    tasks = list(dict.fromkeys(f.task for f in figures))
    corpora = list(dict.fromkeys(f.corpus for f in figures))
    picture = Picture(
        figsize=(1.5 * len(corpora) + 4, _INCHES * len(tasks) + 0.5), layout="constrained", dpi=120
    )
    for panel, task in zip(picture.subplots(len(tasks), 1, squeeze=False).flat, tasks, strict=True):
        for column, (modalities, marker) in enumerate(_MARKERS.items()):
            shown = [f for f in figures if (f.task, f.modalities) == (task, modalities)]
            if not shown:
                continue
            places = [corpora.index(f.corpus) + (column - 1) * 0.2 for f in shown]
            (dots,) = panel.plot(
                places, [f.unweighted_average_recall for f in shown], marker, markersize=5, label=modalities
            )
            # Not `errorbar`: an interval of percentiles may lie beside its figure.
            for place, interval in zip(
                places, (f.unweighted_average_recall_interval for f in shown), strict=True
            ):
                if interval:
                    panel.vlines(place, *interval, color=dots.get_color())
        chance = 1 / len(LABELS_BY_TASK[task])
        panel.axhline(chance, color="grey", linestyle="--", linewidth=1, label="chance")
        panel.set_xticks(range(len(corpora)), corpora, fontsize=8)
        panel.set(ylim=(0, 1.02), xlim=(-0.5, len(corpora) - 0.5))
        panel.set_ylabel(f"{task}: UAR [95 %]", fontsize=8)
        panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return picture
