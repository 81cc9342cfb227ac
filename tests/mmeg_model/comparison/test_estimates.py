import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmeg_model.comparison.estimates import (
    Ratio,
    estimate,
    holm,
    minus,
    sign_flip_p,
    smallest_p,
    speaker_parts,
)


def ratio(sums_by_speaker_and_seed, clips) -> Ratio:
    """Of one fold."""
    return Ratio(np.array(sums_by_speaker_and_seed, float)[:, None], np.array(clips, float)[:, None])


def test_a_mean_by_hand():
    """Two speakers, two seeds: (6 + 2) / 8 clips and (10 + 2) / 8 clips, so 1 and 1.5; speakers add (8 + 2) / 8."""
    quantity = (ratio([[6, 10], [2, 2]], [6, 2]),)
    (value,) = estimate([quantity])
    assert value.mean == 1.25
    assert speaker_parts(quantity).tolist() == [1.0, 0.25]
    assert (value.agreeing_speakers, value.agreeing_seeds, value.agreeing_folds) == ((2, 2), (2, 2), (1, 1))


def test_who_goes_the_other_way_is_counted():
    """Two folds of one speaker each, two seeds: −3 and +1 over 2 clips each; seed 1 alone sums to 2."""
    values = np.zeros((2, 2, 2))
    values[0, 0], values[1, 1] = [-6, 0], [0, 2]
    (value,) = estimate([(Ratio(values, np.eye(2) * 2),)])
    assert value.mean == pytest.approx(-0.5)
    assert (value.agreeing_speakers, value.agreeing_seeds, value.agreeing_folds) == ((1, 2), (1, 2), (1, 2))


def test_the_interval_equals_going_through_all_draws_of_speakers_and_seeds():
    sums, clips = np.array([[1.0, 4.0], [2.0, 8.0], [9.0, 3.0]]), np.array([1.0, 2.0, 3.0])
    draws = [
        np.mean([sums[list(speakers), seed].sum() for seed in seeds]) / clips[list(speakers)].sum()
        for speakers in itertools.product(range(3), repeat=3)
        for seeds in itertools.product(range(2), repeat=2)
    ]
    (value,) = estimate([(ratio(sums, clips),)])
    assert value.interval == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.02)


def test_seeds_that_differ_widen_the_interval():
    """Speakers all alike: the doubt is all about seeds."""
    alike, apart = (ratio([seeds] * 5, [1] * 5) for seeds in ([2, 2, 2], [1, 2, 3]))
    first, second = estimate([(alike,), (apart,)])
    assert first.interval == (2, 2)
    assert second.interval == (1, 3)


def test_cells_are_not_taken_for_independent():
    """Ten seeds that say the same of two unlike speakers leave the doubt of two speakers."""
    (value,) = estimate([(ratio([[0.0] * 10, [1.0] * 10], [1, 1]),)])
    assert value.interval == pytest.approx((0, 1))


def test_a_difference_is_paired():
    """Speakers differ widely, by the same amount before and after: the difference is sure."""
    before, after = ((ratio([[s], [s + 5], [s + 50]], [1, 1, 1]),) for s in (3.0, 2.5))
    (value,) = estimate([minus(after, before)])
    assert value.mean == pytest.approx(-0.5)
    assert value.interval == pytest.approx((-0.5, -0.5))


def test_a_difference_over_other_clips_is_that_of_the_means():
    first, second = (ratio([[4.0], [2.0]], [1, 1]),), (ratio([[4.0], [2.0]], [2, 1]),)
    (value,) = estimate([minus(first, second)])
    assert value.mean == pytest.approx(3 - 2)


@pytest.mark.parametrize(
    ("parts", "p"),
    [
        ([1, 1, 1, 1], 2 / 16),  # +1 or −1 all over
        ([3, 1, 1], 2 / 8),
        ([2, -1, -1], 1.0),
        ([3, 1, -1], 6 / 8),  # |±3 ±1 ±1| < 3 only for 3 − 1 − 1 and its opposite
        ([0, 0], 1.0),
    ],
)
def test_sign_flips_by_hand(parts: list[float], p: float):
    assert sign_flip_p(np.array([parts], float)).tolist() == [p]


def test_random_sign_flips_are_near_all_of_them():
    parts = np.random.default_rng(0).normal(0.4, 1, 13)
    signs = np.array(list(itertools.product([-1, 1], repeat=13)))
    exact = (np.abs(signs @ parts) >= abs(parts.sum()) - 1e-9).mean()
    assert sign_flip_p(parts[None])[0] == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(("num_speakers", "p"), [(3, 0.25), (8, 2 / 256), (36, 1 / 20_001)])
def test_no_p_is_lower_than_the_lowest(num_speakers: int, p: float):
    assert smallest_p(num_speakers) == p
    assert sign_flip_p(np.ones((1, num_speakers)))[0] == pytest.approx(p)


def test_what_is_not_known_has_no_p():
    assert np.isnan(sign_flip_p(np.array([[1.0, np.nan]]))).all()


def test_holm_by_hand():
    """Sorted .01 .02 .03 .5: times 4, 3, 2, 1 is .04 .06 .06 .5, never falling."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.04, float("nan"), 0.03]) == pytest.approx([0.06, float("nan"), 0.06], nan_ok=True)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p_values: list[float]):
    adjusted = holm(p_values)
    assert all(p <= a <= min(1, len(p_values) * p) + 1e-12 for p, a in zip(p_values, adjusted, strict=True))
    assert np.all(np.diff(np.array(adjusted)[np.argsort(p_values)]) >= 0)
