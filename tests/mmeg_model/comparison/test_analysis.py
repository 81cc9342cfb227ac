from collections.abc import Callable

import pytest

from mmeg_model.comparison.analysis import analyse, claimed, comparable
from mmeg_model.comparison.grid import Grid, Weighted
from mmeg_model.comparison.measured import GAP_JOINT, GAP_SUM, JOINT, TEST_SUM
from mmeg_model.comparison.run import Outcomes

EMOTION_ONLY = Weighted(name="fixed", label="emotion-only", arguments={"weights": [1, 0]})
UNIFORM, SOFTMAX = (Weighted(name=name, label=name) for name in ("uniform", "softmax"))


@pytest.fixture
def grid(make_grid: Callable[..., Grid]) -> Grid:
    return make_grid(weightings=(UNIFORM, SOFTMAX, EMOTION_ONLY), seeds=(0, 1))


@pytest.fixture
def outcomes(grid: Grid, make_result: Callable[..., dict]) -> Outcomes:
    """Learned weights change no network: softmax is uniform but for its weights, three quarters on the easier task."""
    test, train = {"emotion": 1.0, "gender": 0.2}, {"emotion": 0.8, "gender": 0.1}
    weights = {"uniform": (0.5, 0.5), "softmax": (0.25, 0.75), "emotion-only": (1.0, 0.0)}
    of_single = {"emotion": 0.9, "gender": 0.7}
    return Outcomes(
        {
            cell: make_result(
                cell,
                test=of_single if cell.weighted == EMOTION_ONLY else test,
                train=train,
                weights=weights[cell.weighted.label],
                num_speakers=14,
            )
            for cell in grid.cells
        },
        {},
    )


def test_the_trap_of_the_papers_metric(grid: Grid, outcomes: Outcomes):
    """Equal networks: the joint loss falls from .6 to .4, all of it by the weights alone."""
    analysis = analyse(grid, outcomes)
    found = {(d.against, d.quantity): d.estimate.mean for d in analysis.claims}
    assert found["uniform", JOINT] == pytest.approx(0.4 - 0.6)
    assert found["uniform", TEST_SUM] == pytest.approx(0)
    by_static = {part.against: part for part in analysis.weights_alone}
    assert by_static["uniform"].by_weights.mean == pytest.approx(-0.2)
    assert by_static["uniform"].by_networks.mean == pytest.approx(0)
    # Against the single task: 0.4 − 0.9, of which the network loses 1.0 − 0.9 and the weights win 0.4 − 1.0.
    assert found["emotion-only", JOINT] == pytest.approx(-0.5)
    assert by_static["emotion-only"].by_weights.mean == pytest.approx(-0.6)
    assert by_static["emotion-only"].by_networks.mean == pytest.approx(0.1)
    assert found["emotion-only", "test NLL, emotion"] == pytest.approx(0.1)
    assert found["emotion-only", "gap, emotion"] == pytest.approx(0.2 - 0.1)


def test_a_single_task_is_compared_by_that_task():
    assert claimed(EMOTION_ONLY) == [JOINT, GAP_JOINT, "test NLL, emotion", "gap, emotion"]
    assert claimed(UNIFORM) == [JOINT, GAP_JOINT, TEST_SUM, GAP_SUM]
    tasks = ["emotion", "gender"]
    assert comparable(EMOTION_ONLY, tasks) == [
        "test NLL, emotion",
        "UAR, emotion",
        "gap, emotion",
        JOINT,
        GAP_JOINT,
    ]
    assert {TEST_SUM, GAP_SUM, "UAR, gender"} <= set(comparable(SOFTMAX, tasks))


def test_p_is_adjusted_within_its_family(grid: Grid, outcomes: Outcomes):
    """All 14 speakers alike: each p is the lowest there is, 2 / 2^14, but where nothing differs, where it is 1."""
    analysis = analyse(grid, outcomes)
    assert len(analysis.claims) == 8
    assert len(analysis.differences) == 10 + 5
    joint = next(d for d in analysis.claims if (d.against, d.quantity) == ("uniform", JOINT))
    assert joint.estimate.p < 4e-4
    assert joint.estimate.p < joint.adjusted_p <= 8 * joint.estimate.p


def test_a_difference_is_over_the_seeds_that_both_have(grid: Grid, outcomes: Outcomes):
    left = {c: r for c, r in outcomes.results.items() if not (c.weighted == SOFTMAX and c.seed == 0)}
    analysis = analyse(grid, Outcomes(left, {}))
    assert {(d.weighting, d.num_seeds) for d in analysis.differences} == {("softmax", 1), ("emotion-only", 2)}
    assert analysis.measured["softmax"].seeds == (1,)


def test_nothing_measured(grid: Grid):
    analysis = analyse(grid, Outcomes({}, dict.fromkeys(grid.cells, "diverged")))
    assert (analysis.tasks, analysis.differences, analysis.claims, analysis.num_speakers) == ((), (), (), 0)
