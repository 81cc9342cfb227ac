import itertools

import numpy as np
import pytest

from mmeg_model.evaluation.bootstrap import speaker_interval
from mmeg_model.evaluation.metrics import unweighted_average_recall


def test_speakers_who_are_all_alike_leave_no_doubt():
    confusion = np.array([[[6, 2], [2, 6]]] * 5)
    assert speaker_interval(confusion, unweighted_average_recall) == (0.75, 0.75)


def test_equals_going_through_all_draws():
    """Of three speakers there are 27 equally likely draws: their quantiles are what the bootstrap tends to."""
    confusion = np.array([[[8, 2], [2, 8]], [[5, 5], [5, 5]], [[9, 1], [4, 6]]])
    draws = [confusion[list(d)].sum(axis=0) for d in itertools.product(range(3), repeat=3)]
    expected = np.quantile([unweighted_average_recall(d) for d in draws], [0.1, 0.9])

    interval = speaker_interval(confusion, unweighted_average_recall, level=0.8)

    assert interval == pytest.approx(tuple(expected), abs=1e-9)


def test_speakers_are_resampled_not_their_clips():
    """A thousand clips of two unlike speakers say no more of others than ten clips of each."""
    unlike = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]])
    few, many = (speaker_interval(unlike * n, unweighted_average_recall) for n in (10, 1000))
    assert few == many == (0.0, 1.0)


def test_same_seed_same_interval():
    confusion = np.random.default_rng(0).integers(0, 9, (6, 4, 4))
    first, second = (speaker_interval(confusion, unweighted_average_recall) for _ in range(2))
    assert first == second
