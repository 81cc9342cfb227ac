from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmeg_model.evaluation.metrics import ReliabilityBin
from mmeg_model.evaluation.predictions import Predictions
from mmeg_model.evaluation.report import Baseline, Figures, as_table, report, report_by_gender

Make = Callable[..., Predictions]


def test_figures_by_hand(predictions: Make):
    """Two speakers: a all right, b half; three clips of the first label, one of the second; all logits differ by 1.

    So an answer has a probability of 1 / (1 + 1/e) = 0.73106, and a loss of 0.31326, or of 1.31326 if it is wrong.
    The bootstrap draws a twice, b twice (of the first label alone), or both: a quarter, a quarter, a half of the
    samples; its interval goes from b alone to a alone.
    """
    of = predictions([[1, 0], [0, 1], [1, 0], [0, 1]], [0, 1, 0, 0], ["a", "a", "b", "b"])

    (figures,) = report({"gender": of})

    def close(value: object) -> object:
        return pytest.approx(value, abs=1e-5)

    assert figures == Figures(
        task="gender",
        corpus="c",
        perceived_gender=None,
        modalities="audio",
        num_clips=4,
        num_speakers=2,
        unweighted_average_recall=close((2 / 3 + 1) / 2),
        unweighted_average_recall_interval=close((0.5, 1)),
        unweighted_average_recall_per_speaker=close((0.75, 0.25)),
        accuracy=0.75,
        accuracy_interval=close((0.5, 1)),
        negative_log_likelihood=close(0.56326),
        negative_log_likelihood_interval=close((0.31326, 0.81326)),
        calibration_error=close(0.75 - 0.73106),
        chance=Baseline(0.5, 0.5, close(np.log(2))),
        constant=Baseline(0.5, 0.75, close(0.75 * np.log(4 / 3) + 0.25 * np.log(4))),
        confusion=((2, 1), (0, 1)),
        reliability=(ReliabilityBin(0.7, 0.8, 4, close(0.73106), 0.75),),
    )


def test_one_speaker_has_no_interval(predictions: Make):
    """Drawn again and again he is as he is, which says nothing of others."""
    (figures,) = report({"gender": predictions([[1, 0], [1, 0]], [0, 1], ["a", "a"])})
    assert figures.unweighted_average_recall_interval is None
    assert figures.accuracy_interval is None
    assert figures.negative_log_likelihood_interval is None
    assert "| **0.500** [one speaker] |" in as_table([figures])


def test_groups_of_corpus_and_modalities(predictions: Make):
    of = predictions(
        [[1, 0]] * 5,
        [0, 1, 0, 1, 0],
        ["a", "a", "b", "b", "b"],
        corpora=["x", "x", "y", "y", "y"],
        modalities=["audio", "audio", "audio", "audio", "video"],
    )
    assert [(f.corpus, f.modalities, f.num_clips) for f in report({"gender": of})] == [
        ("x", "audio", 2),
        ("y", "audio", 2),
        ("all", "audio", 4),
        ("y", "video", 1),
    ]


def test_a_task_without_labels_has_no_figures(predictions: Make):
    assert report({"gender": predictions(np.empty((0, 2)), [], [])}) == []


def test_groups_of_perceived_gender(predictions: Make):
    """The clip w is of a woman, m of a man, of x it is not known: x counts in neither."""
    emotion = predictions(
        [[1, 0, 0, 0]] * 3, [0, 1, 0], ["a", "b", "c"], clips=["w", "m", "x"], corpora=["y", "z", "z"]
    )
    gender = predictions([[1, 0]] * 2, [1, 0], ["b", "a"], clips=["m", "w"], corpora=["z", "y"])

    figures = report_by_gender({"emotion": emotion, "gender": gender})

    assert [(f.task, f.corpus, f.perceived_gender, f.num_clips, f.accuracy) for f in figures] == [
        ("emotion", "y", "female", 1, 1.0),
        ("emotion", "z", "male", 1, 0.0),
        ("gender", "y", "female", 1, 1.0),
        ("gender", "z", "male", 1, 0.0),
    ]
    assert "| emotion | y, female | audio | 1, 1 |" in as_table(figures)


def test_genders_need_clips_that_are_known(predictions: Make):
    unknown = predictions([[1, 0]], [0], ["a"])
    with pytest.raises(ValueError, match=r"of which clips the predictions of gender are must be known"):
        report_by_gender({"gender": unknown})


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_clips_does_not_matter(predictions: Make, seed: int):
    random = np.random.default_rng(seed)
    of = predictions(
        random.normal(size=(60, 4)),
        random.integers(0, 4, 60),
        random.choice(list("abcdefg"), 60),
        corpora=list(random.choice(["x", "y"], 60)),
    )
    for ordered, shuffled in zip(
        report({"emotion": of}), report({"emotion": of.where(random.permutation(60))}), strict=True
    ):
        assert shuffled.confusion == ordered.confusion
        assert shuffled.unweighted_average_recall_interval == ordered.unweighted_average_recall_interval
        assert shuffled.negative_log_likelihood_interval == pytest.approx(
            ordered.negative_log_likelihood_interval
        )
        assert shuffled.calibration_error == pytest.approx(ordered.calibration_error)
