from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmeg_model.comparison.estimates import estimate
from mmeg_model.comparison.grid import Grid, Weighted
from mmeg_model.comparison.measured import (
    GAP_JOINT,
    GAP_SUM,
    JOINT,
    TEST_SUM,
    gather,
    quantities,
    speakers_of,
    tasks_of,
)

TASKS = ["emotion", "gender"]


@pytest.fixture
def results(make_grid: Callable[..., Grid], make_result: Callable[..., dict]):
    """Of `softmax`: emotion 1.0 on test and 0.8 on training, gender 0.5 and 0.2; three times the weight on gender."""

    def make(**values):
        grid = make_grid(seeds=(0, 1))
        defaults = {
            "test": {"emotion": 1.0, "gender": 0.5},
            "train": {"emotion": 0.8, "gender": 0.2},
            "weights": (0.5, 1.5),
        }
        return grid, {cell: make_result(cell, **defaults | values) for cell in grid.cells}

    return make


def test_quantities_by_hand(results):
    grid, of_cells = results()
    measured = gather(grid.weightings[1], of_cells, num_folds=2)
    names = quantities(TASKS)
    values = dict(
        zip(names, (e.mean for e in estimate([of(measured) for of in names.values()])), strict=True)
    )
    assert values == pytest.approx(
        {
            TEST_SUM: 1.5,
            "test NLL, emotion": 1.0,
            "test NLL, gender": 0.5,
            "train NLL, emotion": 0.8,
            "train NLL, gender": 0.2,
            "UAR, emotion": 0.5,  # all right of the first label, none of the second, the others do not occur
            "UAR, gender": 0.5,
            JOINT: 0.25 * 1.0 + 0.75 * 0.5,  # weights are scaled to sum to 1
            GAP_SUM: 1.5 - 1.0,
            "gap, emotion": 0.2,
            "gap, gender": 0.3,
            GAP_JOINT: 0.25 * 0.2 + 0.75 * 0.3,
        }
    )


def test_a_seed_counts_where_all_its_folds_are_there(results):
    grid, of_cells = results()
    softmax = grid.weightings[1]
    gone = [cell for cell in of_cells if cell.weighted == softmax and cell.seed == 1 and cell.fold == 1]
    kept = {cell: result for cell, result in of_cells.items() if cell not in gone}
    assert gather(softmax, kept, num_folds=2).seeds == (0,)
    none = {cell: result for cell, result in of_cells.items() if cell.weighted != softmax or cell.fold}
    assert gather(softmax, none, num_folds=2) is None
    assert gather(Weighted(name="dwa", label="dwa"), of_cells, num_folds=2) is None


def test_a_task_without_labels_is_no_task(results):
    """Such as pictures that nobody labelled a gender for."""
    grid, of_cells = results(test={"emotion": 1.0}, train={"emotion": 0.8})
    assert tasks_of(of_cells.values()) == ["emotion"]
    measured = gather(grid.weightings[0], of_cells, num_folds=2)
    (value,) = estimate([quantities(["emotion"])[TEST_SUM](measured)])
    assert value.mean == pytest.approx(1.0)


def test_a_speaker_without_a_label_for_a_task_counts_for_the_other(results):
    grid, of_cells = results()
    for result in of_cells.values():
        gender = result["test"]["tasks"]["gender"]
        for column in ("speakers", "nll_sums", "confusions"):
            del gender[column][0]
    measured = gather(grid.weightings[0], of_cells, num_folds=2)
    assert len(speakers_of(of_cells.values())) == 6
    emotion, gender = estimate([(measured.loss("test", task),) for task in TASKS])
    assert (emotion.mean, gender.mean) == pytest.approx((1.0, 0.5))
    assert (emotion.agreeing_speakers, gender.agreeing_speakers) == ((6, 6), (4, 4))


def test_weights_that_sum_to_nothing_give_no_joint_loss(results, tmp_path: Path):
    grid, of_cells = results(weights=(1.0, -1.0))
    measured = gather(grid.weightings[0], of_cells, num_folds=2)
    joint, plain = estimate([quantities(TASKS)[name](measured) for name in (JOINT, TEST_SUM)])
    assert np.isnan([joint.mean, *joint.interval, joint.p]).all()
    assert plain.mean == pytest.approx(1.5)
