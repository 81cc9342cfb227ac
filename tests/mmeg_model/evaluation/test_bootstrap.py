import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeg_model.evaluation.bootstrap import percentile_interval, resampled_sums
from mmeg_model.evaluation.metrics import unweighted_average_recall


def interval_of_recall(confusion: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """Of counts by speaker, (speakers, label, predicted)."""
    return percentile_interval(unweighted_average_recall(resampled_sums(confusion)), level=level)


def test_speakers_who_are_all_alike_leave_no_doubt():
    confusion = np.array([[[6, 2], [2, 6]]] * 5)
    assert interval_of_recall(confusion) == (0.75, 0.75)


def test_equals_going_through_all_draws():
    """Of three speakers there are 27 equally likely draws: their quantiles are what the bootstrap tends to."""
    confusion = np.array([[[8, 2], [2, 8]], [[5, 5], [5, 5]], [[9, 1], [4, 6]]])
    draws = [confusion[list(d)].sum(axis=0) for d in itertools.product(range(3), repeat=3)]
    expected = np.quantile([unweighted_average_recall(d) for d in draws], [0.1, 0.9])

    interval = interval_of_recall(confusion, level=0.8)

    assert interval == pytest.approx(tuple(expected), abs=1e-9)


def test_speakers_are_resampled_not_their_clips():
    """A thousand clips of two unlike speakers say no more of others than ten clips of each."""
    unlike = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]])
    few, many = (interval_of_recall(unlike * n) for n in (10, 1000))
    assert few == many == (0.0, 1.0)


def test_same_seed_same_interval():
    confusion = np.random.default_rng(0).integers(0, 9, (6, 4, 4))
    first, second = (interval_of_recall(confusion) for _ in range(2))
    assert first == second


def test_as_many_speakers_are_drawn_as_there_are():
    """So what every speaker has once, all of them have as often; and counts stay whole."""
    sums = resampled_sums(np.ones((7, 2, 3), np.int64), num_samples=50)
    assert sums.shape == (50, 2, 3)
    assert (sums == 7).all()


def test_everybody_is_drawn_equally_often():
    """Mean 1 and variance 1 - 1 / 5 of how often one of five is drawn; four standard errors over 10,000 samples."""
    times = resampled_sums(np.eye(5))
    assert times.mean(axis=0) == pytest.approx(np.ones(5), abs=4 * np.sqrt(0.8 / 10_000))
    assert times.var(axis=0) == pytest.approx(np.full(5, 0.8), abs=0.05)


def test_columns_of_a_sample_are_of_the_same_speakers():
    random = np.random.default_rng(0).normal(size=9)
    sums = resampled_sums(np.column_stack([random, 2 * random]), num_samples=100)
    assert np.allclose(2 * sums[:, 0], sums[:, 1])


def test_memory_is_bounded_with_a_speaker_a_picture():
    """All draws of 300 samples of 20,000 speakers at once would be 48 MB, and their counts as much again."""
    by_speaker = np.ones((20_000, 17))
    tracemalloc.start()
    try:
        sums = resampled_sums(by_speaker, num_samples=300)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 15e6
    assert (sums == 20_000).all()  # also where one part of the samples ends and the next begins


def test_percentiles_by_hand():
    assert percentile_interval(np.arange(101.0), level=0.9) == pytest.approx((5, 95))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(30, 80))
def test_interval_of_many_speakers_covers_the_figure(seed: int, num_speakers: int):
    confusion = np.random.default_rng(seed).integers(1, 9, (num_speakers, 4, 4))
    low, high = interval_of_recall(confusion)
    assert low < unweighted_average_recall(confusion.sum(axis=0)) < high
