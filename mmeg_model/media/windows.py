"""A video's duration becomes windows (one clip each), and windows become spans (one decode each)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from mmeg_model.clip import FRAME_MS

Window = tuple[int, int]
"""A time range [start_ms, end_ms) on the video's own clock."""

WINDOW_MS: Final = 6_000
SHORTEST_LAST_WINDOW_MS: Final = 1_000
SPAN_MS: Final = 60_000


def fixed_windows(duration_ms: int, *, window_ms: int = WINDOW_MS) -> list[Window]:
    """Cut [0, duration_ms) into windows of window_ms; a last one shorter than 1 s joins its neighbour.

    Raises:
        ValueError: if the duration is not positive, or window_ms is not a positive multiple of 40.
    """
    if duration_ms <= 0:
        raise ValueError(f"{duration_ms = } must be positive")
    if window_ms <= 0 or window_ms % FRAME_MS:
        raise ValueError(f"{window_ms = } must be a positive multiple of {FRAME_MS}")
    starts = list(range(0, duration_ms, window_ms))
    if len(starts) > 1 and duration_ms - starts[-1] < SHORTEST_LAST_WINDOW_MS:
        starts.pop()
    return list(pairwise([*starts, duration_ms]))


def group_into_spans(windows: Sequence[Window], *, span_ms: int = SPAN_MS) -> list[list[Window]]:
    """Group neighbouring windows into spans of about span_ms, all of about one length, at least one window each.

    Of one length, since whoever deals spans out to workers in turn would give one of them all the short ones.
    """
    num_spans = max(1, round((windows[-1][1] - windows[0][0]) / span_ms))
    bounds = [round(i * len(windows) / num_spans) for i in range(num_spans + 1)]
    return [list(windows[start:end]) for start, end in pairwise(bounds) if start < end]
