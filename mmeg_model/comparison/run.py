"""A grid from its configuration to its results, several cells at a time; what is there already is kept."""

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from time import monotonic
from typing import Any

import torch

from mmeg_model.comparison.cell import RESULT_FILE, configuration_of, run_cell, sha256_of, split_of
from mmeg_model.comparison.grid import Cell, Grid
from mmeg_model.corpora import read_corpora
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.training.checkpoint import differences


@dataclass(frozen=True)
class Outcomes:
    """What became of the cells of a grid."""

    results: Mapping[Cell, Mapping[str, Any]]
    """Of those that were trained and measured, see `mmeg_model.comparison.cell`."""
    failed: Mapping[Cell, str]
    """Of the others, why they were not."""


def read_utterances(grid: Grid) -> tuple[Utterance, ...]:
    """Read the corpora of a grid.

    Raises:
        ValueError: if a corpus is unknown or empty, or there are too few speakers for the folds.
    """
    reading = read_corpora(grid.data, grid.corpora)
    for fold in range(grid.folds):
        split_of(grid, fold, reading.utterances)
    print(
        f"{len(reading.utterances)} utterances; left out: {dict(reading.excluded) or 'none'}", file=sys.stderr
    )
    return reading.utterances


def kept_results(grid: Grid, utterances: Sequence[Utterance]) -> dict[Cell, Mapping[str, Any]]:
    """What earlier runs left in the output folder.

    Raises:
        ValueError: if a cell was trained with another configuration; the message says what differs.
    """
    kept = {}
    for cell in grid.cells:
        file = grid.output / "cells" / cell.name / RESULT_FILE
        if not file.exists():
            continue
        result = json.loads(file.read_text(encoding="utf-8"))
        configuration = configuration_of(grid, cell, utterances)
        if result["configuration_sha256"] != sha256_of(configuration):
            changes = "; ".join(differences(result["configuration"], configuration))
            raise ValueError(
                f"{file} is of another configuration ({changes}): go back to it, or choose another output"
            )
        kept[cell] = result
    return kept


def run_grid(grid: Grid, utterances: Sequence[Utterance], kept: Mapping[Cell, Mapping[str, Any]]) -> Outcomes:
    """Train the cells without a result; how far it is goes to stderr.

    A cell that fails does not stop the others. If its training diverged that is its result; whatever else went
    wrong is tried again by the next run.

    Raises:
        BrokenProcessPool: if a process was killed; the results so far stand.
    """
    results = dict(kept)
    accidents: dict[Cell, str] = {}
    todo = [cell for cell in grid.cells if cell not in kept]
    print(f"{len(grid.cells)} cells, {len(kept)} of them there already", file=sys.stderr)
    started = monotonic()
    if todo:
        with ProcessPoolExecutor(
            min(grid.jobs, len(todo)), get_context("spawn"), torch.set_num_threads, (1,)
        ) as pool:
            running: dict[Future[dict[str, Any]], Cell] = {
                pool.submit(run_cell, grid, cell, utterances): cell for cell in todo
            }
            try:
                for number, future in enumerate(as_completed(running), 1):
                    cell = running[future]
                    try:
                        results[cell] = future.result()
                    except BrokenProcessPool:
                        raise
                    except Exception as error:
                        accidents[cell] = f"{type(error).__name__}: {error}"
                    left = timedelta(seconds=round((monotonic() - started) / number * (len(todo) - number)))
                    print(
                        f"{len(kept) + number}/{len(grid.cells)} cells, {left} left: {cell.name}",
                        file=sys.stderr,
                    )
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    diverged = {cell: result["failed"] for cell, result in results.items() if "failed" in result}
    measured = {cell: result for cell, result in results.items() if cell not in diverged}
    return Outcomes(measured, diverged | accidents)
