from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mmeg_model.comparison.grid import Cell, Grid, Weighted
from mmeg_model.comparison.measured import Result
from mmeg_model.corpora.synthetic import write_corpus


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def synthetic_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpus `synthetic`: 32 videos of 0.4 s, 8 speakers."""
    data = tmp_path_factory.mktemp("data")
    write_corpus(data / "synthetic", num_videos=32, seconds=0.4)
    return data


@pytest.fixture(scope="session")
def clip_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_grid(tmp_path: Path) -> Callable[..., Grid]:
    """A grid of `uniform` and `softmax`, one seed and two folds unless said otherwise."""

    def make(**values) -> Grid:
        defaults = {
            "data": tmp_path,
            "corpora": ("synthetic",),
            "output": tmp_path / "out",
            "weightings": tuple(Weighted(name=name, label=name) for name in ("uniform", "softmax")),
            "seeds": (0,),
            "folds": 2,
        }
        return Grid(**defaults | values)

    return make


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """What a cell found, as `run_cell` writes it, from losses that all clips of a side and task have."""

    def make(
        cell: Cell,
        *,
        test: dict[str, float],
        train: dict[str, float],
        weights: tuple[float, float] = (0.5, 0.5),
        num_speakers: int = 6,
    ) -> Result:
        """Speakers take turns in the folds (two); each says four clips a task and is right at the first half of them."""
        speakers = [f"s{i:02d}" for i in range(num_speakers)]

        def side(losses: dict[str, float], chosen: list[str]) -> dict:
            tasks = {}
            for task, loss in losses.items():
                num_labels = {"emotion": 4, "gender": 2}[task]
                confusion = np.zeros((num_labels, num_labels), int)
                confusion[0, 0], confusion[1, 0] = 2, 2
                tasks[task] = {
                    "nll": loss,
                    "uar": 0.5,
                    "clips": [["synthetic", "audio+video", 4 * len(chosen)]],
                    "speakers": list(chosen),
                    "nll_sums": [4 * loss] * len(chosen),
                    "confusions": [confusion.tolist()] * len(chosen),
                }
            return {"tasks": tasks}

        tested = speakers[cell.fold :: 2]
        of_task = dict(zip(("emotion", "gender"), weights, strict=True))
        return {
            "configuration": {"utterances": "24, sha256 0"},
            "versions": {"mmeg": "0.1.0", "torch": "2"},
            "seconds": 1.0,
            "epoch": 1,
            "epochs": [{"epoch": 1, "train": test, "validation": test, "weights": of_task}],
            "weights": of_task,
            "test": side(test, tested),
            "train": side(train, [s for s in speakers if s not in tested]),
        }

    return make
