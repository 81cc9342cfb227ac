from collections.abc import Callable

import numpy as np
import pytest

from mmeg_model.evaluation.joint_report import JointFigures, as_joint_table, report_joint
from mmeg_model.evaluation.predictions import Predictions
from mmeg_model.evaluation.report import report

Make = Callable[..., Predictions]
LOG = {n: float(np.log(n)) for n in (2, 3, 4, 6)}
WEIGHTS = {"emotion": 0.25, "gender": 0.75}


@pytest.fixture
def both(predictions: Make) -> dict[str, Predictions]:
    """Clips 1 and 2 are labelled for both tasks, 3 for emotion alone, 4 for gender alone; each task in its own order.

    Emotion: odds of 3 : 1 : 1 : 1, so a loss of log 2 where the first label is right (clip 1), else of log 6.
    Gender: odds of 3 : 1, so log 4/3 where the first label is right (clips 1 and 2), else log 4.
    """
    return {
        "emotion": predictions([[LOG[3], 0, 0, 0]] * 3, [0, 1, 3], ["a", "b", "b"], clips=["1", "2", "3"]),
        "gender": predictions([[LOG[3], 0]] * 3, [1, 0, 0], ["a", "b", "a"], clips=["4", "2", "1"]),
    }


def test_figures_by_hand(both: dict[str, Predictions]):
    """Over clips 1 (of a) and 2 (of b). Drawing a alone gives log 2 + log 4/3, b alone log 6 + log 4/3."""
    figures = report_joint(both, WEIGHTS)[0]

    emotion, gender = (LOG[2] + LOG[6]) / 2, LOG[4] - LOG[3]
    assert figures == JointFigures(
        corpus="c",
        perceived_gender=None,
        modalities="audio",
        num_clips=2,
        num_partly_labelled=2,
        num_speakers=2,
        negative_log_likelihoods=pytest.approx({"emotion": emotion, "gender": gender}),
        unweighted_sum=pytest.approx(emotion + gender),
        unweighted_sum_interval=pytest.approx((LOG[2] + gender, LOG[6] + gender)),
        chance=pytest.approx(LOG[4] + LOG[2]),
        constant=pytest.approx(LOG[2]),  # one of each emotion, and women alone
        paper_joint_loss_under_learned_weights=pytest.approx(0.25 * emotion + 0.75 * gender),
        paper_joint_loss_under_learned_weights_interval=pytest.approx(
            (0.25 * LOG[2] + 0.75 * gender, 0.25 * LOG[6] + 0.75 * gender)
        ),
    )


def test_by_perceived_gender(both: dict[str, Predictions]):
    """Clips 1 and 2 are of women; 4 of a man, without an emotion: no figure. 3 is of neither."""
    assert [(f.perceived_gender, f.num_clips, f.num_partly_labelled) for f in report_joint(both, None)] == [
        (None, 2, 2),
        ("female", 2, 0),
    ]


def test_without_weights_the_papers_loss_is_absent(both: dict[str, Predictions]):
    figures = report_joint(both, None)
    assert figures[0].paper_joint_loss_under_learned_weights is None
    assert figures[0].paper_joint_loss_under_learned_weights_interval is None
    assert "paper" not in as_joint_table(figures, None)


def test_the_table_names_what_it_shows(both: dict[str, Predictions]):
    header, _, *rows = as_joint_table(report_joint(both, WEIGHTS), WEIGHTS).splitlines()
    assert "the paper's joint loss under the learned weights (emotion 0.250, gender 0.750) [95 %]" in header
    assert rows[0] == (
        "| c | audio | 2 (2), 2 | emotion 1.242, gender 0.288 | **1.530** [0.981, 2.079] | 2.079 | 0.693 "
        "| 0.526 [0.389, 0.664] |"
    )
    assert {row.count("|") for row in rows} == {header.count("|")}


def test_weights_of_a_half_are_half_the_sum(both: dict[str, Predictions]):
    for f in report_joint(both, {"emotion": 0.5, "gender": 0.5}):
        assert f.paper_joint_loss_under_learned_weights == pytest.approx(f.unweighted_sum / 2)


def test_where_all_is_labelled_the_sum_is_that_of_the_tasks_own_losses(predictions: Make):
    random = np.random.default_rng(0)
    speakers, clips = list(random.choice(list("abcdef"), 40)), [str(i) for i in range(40)]
    of = {
        task: predictions(random.normal(size=(40, n)), random.integers(0, n, 40), speakers, clips=clips)
        for task, n in (("emotion", 4), ("gender", 2))
    }
    joint = report_joint(of, None)[0]
    assert joint.num_partly_labelled == 0
    assert joint.unweighted_sum == pytest.approx(sum(f.negative_log_likelihood for f in report(of)))
    low, high = joint.unweighted_sum_interval
    assert low < joint.unweighted_sum < high


def test_a_corpus_that_is_labelled_for_one_task_counts_as_partly_labelled(predictions: Make):
    """Faces without a perceived gender: no sum of their own, and none of their clips in that of all corpora."""
    of = {
        "emotion": predictions(
            [[1, 0, 0, 0]] * 3,
            [0, 0, 0],
            ["a", "b", "c"],
            clips=["1", "2", "3"],
            corpora=["x", "faces", "faces"],
        ),
        "gender": predictions([[1, 0]], [0], ["a"], clips=["1"], corpora=["x"]),
    }
    assert [
        (f.corpus, f.num_clips, f.num_partly_labelled)
        for f in report_joint(of, None)
        if not f.perceived_gender
    ] == [("x", 1, 0), ("all", 1, 2)]


def test_nothing_is_labelled_for_all_tasks(predictions: Make):
    of = {
        "emotion": predictions([[1, 0, 0, 0]], [0], ["a"], clips=["1"]),
        "gender": predictions(np.empty((0, 2)), [], [], clips=[]),
    }
    assert report_joint(of, None) == []
