from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmeg_model.media.windows import fixed_windows, group_into_spans


@pytest.mark.parametrize(
    ("duration_ms", "expected"),
    [
        (1, [(0, 1)]),
        (5_900, [(0, 5_900)]),
        (6_000, [(0, 6_000)]),
        (6_999, [(0, 6_999)]),  # what is left is shorter than 1 s and joins its neighbour
        (7_000, [(0, 6_000), (6_000, 7_000)]),
        (12_500, [(0, 6_000), (6_000, 12_500)]),
    ],
)
def test_windows_by_hand(duration_ms: int, expected: list[tuple[int, int]]) -> None:
    assert fixed_windows(duration_ms) == expected


@given(st.integers(1, 10**7), st.integers(1, 5_000))
def test_windows_cover_the_duration_once(duration_ms: int, window_frames: int) -> None:
    windows = fixed_windows(duration_ms, window_ms=40 * window_frames)
    assert (windows[0][0], windows[-1][1]) == (0, duration_ms)
    assert all(end == start for (_, end), (start, _) in pairwise(windows))
    assert all(start % 40 == 0 and start < end for start, end in windows)


@pytest.mark.parametrize(
    ("duration_ms", "num_windows"),
    [
        (60_020, [10]),  # a minute whose sound ends a little later is one span
        (89_000, [15]),
        (90_000, [8, 7]),
        (150_001, [8, 9, 8]),
        (600_000, [10] * 10),
    ],
)
def test_spans_by_hand(duration_ms: int, num_windows: list[int]) -> None:
    assert [len(span) for span in group_into_spans(fixed_windows(duration_ms))] == num_windows


@given(st.integers(1, 10**7), st.integers(1, 5_000))
def test_spans_keep_all_windows_in_order_and_are_alike(duration_ms: int, window_frames: int) -> None:
    windows = fixed_windows(duration_ms, window_ms=40 * window_frames)
    spans = group_into_spans(windows)
    assert [window for span in spans for window in span] == windows
    lengths = [len(span) for span in spans]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("duration_ms", "window_ms"), [(0, 6_000), (-1, 6_000), (1_000, 0), (1_000, 50)])
def test_what_is_no_duration_or_window(duration_ms: int, window_ms: int) -> None:
    with pytest.raises(ValueError, match=r"(duration|window)_ms = -?\d+ must be"):
        fixed_windows(duration_ms, window_ms=window_ms)
