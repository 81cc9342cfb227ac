import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from mmeg_model.comparison.grid import Grid, read_grid
from mmeg_model.comparison.run import Outcomes, kept_results, read_utterances, run_grid

GRID = """
corpora = ["synthetic"]
weightings = ["uniform", "softmax"]
seeds = 2
folds = 2
validation_folds = 2
train_clips = 8
jobs = 2
[training]
num_epochs = 2
clips_per_epoch = 8
batch_size = 4
sizes = { num_features = 16, video = { channels = [4, 4, 4] } }
"""


@pytest.fixture(scope="module")
def grid_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("grid") / "grid.toml"
    file.write_text(GRID)
    return file


@pytest.fixture(scope="module")
def done(
    grid_file: Path, synthetic_data: Path, clip_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Grid, Outcomes]:
    """A whole grid, trained."""
    output = tmp_path_factory.mktemp("out")
    grid = read_grid(grid_file, {"data": synthetic_data, "output": output, "cache": clip_cache})
    utterances = read_utterances(grid)
    return grid, run_grid(grid, utterances, kept_results(grid, utterances))


def copied(done: tuple[Grid, Outcomes], grid_file: Path, output: Path, *changes: tuple[str, str]) -> Grid:
    """The same grid in another folder, its file changed if need be."""
    grid, _ = done
    shutil.copytree(grid.output / "cells", output / "cells")
    text = grid_file.read_text()
    for change in changes:
        text = text.replace(*change)
    file = output / "grid.toml"
    file.write_text(text)
    return read_grid(file, {"data": grid.data, "output": output, "cache": grid.cache})


def test_every_cell_has_what_the_analysis_needs(done: tuple[Grid, Outcomes]):
    grid, outcomes = done
    assert outcomes.failed == {}
    assert set(outcomes.results) == set(grid.cells)
    assert len(grid.cells) == 8
    for cell, result in outcomes.results.items():
        assert json.loads((grid.output / "cells" / cell.name / "result.json").read_text()) == result
        assert [line["epoch"] for line in result["epochs"]] == [1, 2]
        assert result["weights"] == result["epochs"][result["epoch"] - 1]["weights"]
        for side in ("test", "train"):
            losses = {task: of_task["nll"] for task, of_task in result[side]["tasks"].items()}
            assert result[side]["unweighted_sum"] == pytest.approx(losses["emotion"] + losses["gender"])
            joint = sum(result["weights"][task] * loss for task, loss in losses.items())
            assert result[side]["joint_loss"] == pytest.approx(joint)
            for of_task in result[side]["tasks"].values():
                clips = sum(number for *_, number in of_task["clips"])
                assert sum(of_task["nll_sums"]) / clips == pytest.approx(of_task["nll"])
        speakers = {side: set(result[side]["tasks"]["emotion"]["speakers"]) for side in ("test", "train")}
        assert not speakers["test"] & speakers["train"]


def test_cells_of_a_fold_are_measured_on_the_same_clips(done: tuple[Grid, Outcomes]):
    _, outcomes = done
    for fold in range(2):
        of_fold = [result for cell, result in outcomes.results.items() if cell.fold == fold]
        for side in ("test", "train"):
            assert len({str(result[side]["tasks"]["emotion"]["speakers"]) for result in of_fold}) == 1
            assert len({str(result[side]["tasks"]["emotion"]["clips"]) for result in of_fold}) == 1


def test_seeds_are_paired(done: tuple[Grid, Outcomes]):
    """Before the weights have moved, cells of one seed and fold lose the same; of another seed, something else."""
    _, outcomes = done
    first = {cell: result["epochs"][0]["train"] for cell, result in outcomes.results.items()}
    by_seed = {
        seed: [losses["emotion"] for cell, losses in first.items() if cell.seed == seed and cell.fold == 0]
        for seed in (0, 1)
    }
    assert by_seed[0][0] == pytest.approx(by_seed[0][1], abs=1e-3)
    assert by_seed[0][0] != pytest.approx(by_seed[1][0], abs=1e-3)


def test_what_is_there_is_not_trained_again(
    done: tuple[Grid, Outcomes], grid_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    grid = copied(done, grid_file, tmp_path)
    gone = grid.cells[3]
    (tmp_path / "cells" / gone.name / "result.json").unlink()
    utterances = read_utterances(grid)
    kept = kept_results(grid, utterances)
    assert set(grid.cells) - set(kept) == {gone}

    outcomes = run_grid(grid, utterances, kept)

    assert set(outcomes.results) == set(grid.cells)
    told = capsys.readouterr().err
    assert "8 cells, 7 of them there already" in told
    assert re.search(rf"8/8 cells, 0:00:00 left: {gone.name}", told)


def test_a_killed_cell_is_trained_to_the_same_end(
    done: tuple[Grid, Outcomes], grid_file: Path, tmp_path: Path
):
    whole, outcomes = done
    cell = next(cell for cell in whole.cells if cell.name == "softmax-seed1-fold1")
    grid = copied(done, grid_file, tmp_path)
    shutil.rmtree(tmp_path / "cells" / cell.name)
    script = Path(__file__).with_name("killed_cell.py")
    died = subprocess.run(
        [sys.executable, script, grid_file, grid.data, tmp_path, grid.cache, cell.name],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    left = [path.name for path in (tmp_path / "cells" / cell.name).iterdir()]
    assert "result.json" not in left
    assert any(name.startswith("training-") for name in left)

    utterances = read_utterances(grid)
    again = run_grid(grid, utterances, kept_results(grid, utterances)).results[cell]

    timeless = {key: value for key, value in again.items() if key != "seconds"}
    assert timeless == {key: value for key, value in outcomes.results[cell].items() if key != "seconds"}


def test_results_of_another_configuration_are_refused(
    done: tuple[Grid, Outcomes], grid_file: Path, tmp_path: Path
):
    grid = copied(done, grid_file, tmp_path, ("num_epochs = 2", "num_epochs = 3"))
    message = (
        r"uniform-seed0-fold0/result\.json is of another configuration \(training\.num_epochs: 2, now 3\): go "
        "back to it, or choose another output"
    )
    with pytest.raises(ValueError, match=message):
        kept_results(grid, read_utterances(grid))


def test_a_grid_may_grow(done: tuple[Grid, Outcomes], grid_file: Path, tmp_path: Path):
    grid = copied(done, grid_file, tmp_path, ("seeds = 2", "seeds = 3"))
    assert len(kept_results(grid, read_utterances(grid))) == 8
    assert len(grid.cells) == 12


def test_a_training_that_diverges_is_a_result_and_the_others_go_on(
    done: tuple[Grid, Outcomes], grid_file: Path, tmp_path: Path
):
    """With a temperature of 1e-300 the weights are inf / inf from the first step on."""
    hot = '"uniform", { name = "dwa", label = "hot", arguments = { temperature = 1e-300 } }'
    changes = ('"uniform", "softmax"', hot), ("seeds = 2", "seeds = 1"), ("jobs = 2", "jobs = 1")
    grid = copied(done, grid_file, tmp_path, *changes)
    missing = grid.cells[-2]
    (tmp_path / "cells" / missing.name / "result.json").unlink()
    utterances = read_utterances(grid)

    outcomes = run_grid(grid, utterances, kept_results(grid, utterances))

    assert [cell.name for cell in outcomes.failed] == ["hot-seed0-fold0", "hot-seed0-fold1"]
    assert {cell.name for cell in outcomes.results} == {"uniform-seed0-fold0", missing.name}
    assert all(re.match(r"diverged: .*nan", reason) for reason in outcomes.failed.values())
    kept = kept_results(grid, utterances)
    assert len(kept) == 4  # diverged once, it will again
    assert run_grid(grid, utterances, kept).failed == outcomes.failed


def test_an_accident_is_told_and_tried_again(done: tuple[Grid, Outcomes], grid_file: Path, tmp_path: Path):
    grid = copied(done, grid_file, tmp_path)
    cell = grid.cells[5]
    shutil.rmtree(tmp_path / "cells" / cell.name)
    (tmp_path / "cells" / cell.name).write_text("in the way of its folder")
    utterances = read_utterances(grid)

    outcomes = run_grid(grid, utterances, kept_results(grid, utterances))
    assert list(outcomes.failed) == [cell]
    assert re.match(r"(NotADirectory|FileExists)Error: ", outcomes.failed[cell])
    assert len(outcomes.results) == 7

    (tmp_path / "cells" / cell.name).unlink()
    assert cell not in kept_results(grid, utterances)


class Deadly:
    """Ends the process that it is sent to."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_killed_process_ends_the_run(make_grid: Callable[..., Grid]):
    with pytest.raises(BrokenProcessPool, match="terminated abruptly"):
        run_grid(make_grid(jobs=1), [Deadly()], {})


def test_too_few_speakers_for_the_folds(make_grid: Callable[..., Grid], synthetic_data: Path):
    with pytest.raises(ValueError, match=r"num_folds = 9 must be in \[2, 8\], the number of speakers"):
        read_utterances(make_grid(data=synthetic_data, folds=9))
