"""Trains one cell of a grid, and dies behind the first epoch: `python killed_cell.py GRID DATA OUTPUT CACHE CELL`."""

import os
import signal
import sys
from pathlib import Path

import torch

from mmeg_model.comparison.cell import run_cell
from mmeg_model.comparison.grid import read_grid
from mmeg_model.corpora import read_corpora
from mmeg_model.training import loop


def main() -> None:
    torch.set_num_threads(1)
    file, data, output, cache = map(Path, sys.argv[1:5])
    grid = read_grid(file, {"data": data, "output": output, "cache": cache})
    (cell,) = (cell for cell in grid.cells if cell.name == sys.argv[5])
    predict, validations = loop.predict, []

    def die_at_the_second_validation(*arguments, **keywords):
        if validations:
            os.kill(os.getpid(), signal.SIGKILL)
        validations.append(1)
        return predict(*arguments, **keywords)

    loop.predict = die_at_the_second_validation
    run_cell(grid, cell, read_corpora(data, grid.corpora).utterances)


if __name__ == "__main__":
    main()
