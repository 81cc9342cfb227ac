from collections.abc import Callable

import pytest

from mmeg_model.evaluation.predictions import Predictions
from mmeg_model.evaluation.report import report

Make = Callable[..., Predictions]


def test_figures_by_hand(predictions: Make):
    """Two speakers: one all right, one half; three clips of the first label, one of the second."""
    of = predictions([[1, 0], [0, 1], [1, 0], [0, 1]], [0, 1, 0, 0], ["a", "a", "b", "b"])

    (figures,) = report({"gender": of})

    assert (figures.task, figures.corpus, figures.modalities) == ("gender", "c", "audio")
    assert (figures.num_clips, figures.num_speakers) == (4, 2)
    assert figures.unweighted_average_recall == pytest.approx((2 / 3 + 1) / 2)
    assert figures.unweighted_average_recall_per_speaker == pytest.approx((0.75, 0.25))
    assert figures.interval[0] <= figures.unweighted_average_recall <= figures.interval[1]
    assert (figures.chance, figures.accuracy, figures.constant_accuracy) == (0.5, 0.75, 0.75)


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
