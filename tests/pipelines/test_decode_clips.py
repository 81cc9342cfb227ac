import dataclasses
import itertools

import pytest

from mmeg_model.media.decoders import DecoderLimits
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef
from pipelines.decode_clips import DecoderPool, broken_promises, plan_spans

INFO = VideoInfo(
    duration_ms=130_500,
    stated_duration_ms=None,
    container="matroska,webm",
    video_codec="h264",
    width=640,
    height=360,
    rotation_degrees=0,
    audio_codec="aac",
)


def test_spans_of_a_minute_by_hand() -> None:
    spans = plan_spans(VideoRef("/v.mkv", "1"), INFO, window_ms=6_000)
    # 130.5 s: 21 windows of 6 s and one of 4.5 s, in two spans, since 130.5 / 60 is nearest to 2
    assert [(s.first_clip_index, len(s.windows), s.windows[0][0], s.windows[-1][1]) for s in spans] == [
        (0, 11, 0, 66_000),
        (11, 11, 66_000, 130_500),
    ]


@pytest.mark.parametrize("window_ms", [40, 1_000, 6_000, 7_000, 59_960, 61_000, 3_600_000])
def test_spans_cover_the_video_once_whatever_the_window(window_ms: int) -> None:
    windows = [
        w for span in plan_spans(VideoRef("/v.mkv", "1"), INFO, window_ms=window_ms) for w in span.windows
    ]
    assert windows[0][0] == 0
    assert windows[-1][1] == INFO.duration_ms
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(windows))


@pytest.mark.parametrize(
    ("stated_ms", "is_broken"), [(None, False), (100_000, False), (131_500, False), (131_501, True)]
)
def test_a_promise_is_broken_by_more_than_a_second(stated_ms: int | None, is_broken: bool) -> None:
    failures = broken_promises(dataclasses.replace(INFO, stated_duration_ms=stated_ms))
    assert bool(failures) is is_broken
    if failures:
        assert failures[0].message == (
            "the header states 131.501 s, but the last packet ends at 130.500 s: the end of the file is missing"
        )


def test_equal_pools_share_their_children_until_they_are_closed() -> None:
    limits = DecoderLimits(deadline_seconds=10, memory_bytes=1 << 28)
    pool, same = DecoderPool(1, limits), DecoderPool(1, limits)
    first = pool.shared()
    assert same.shared() is first
    assert DecoderPool(2, limits).shared() is not first
    pool.close()
    assert pool.shared() is not first
    for one in (pool, DecoderPool(2, limits)):
        one.close()
