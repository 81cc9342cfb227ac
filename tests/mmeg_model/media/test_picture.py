import gc
from fractions import Fraction

import numpy as np
import pytest
from av.error import BlockingIOError as NeedsMore
from av.filter import Graph
from av.video.frame import VideoFrame
from hypothesis import example, given, settings
from hypothesis import strategies as st
from makers.video import Recipe, make_video

from mmeg_model.media.container import Clock
from mmeg_model.media.decode import decode_span
from mmeg_model.media.picture import Picture, StartedTooLateError, rotation_degrees, rotation_filters
from mmeg_model.media.probe import probe

END = 80
ONE = 1 << 16


def _frame(number: int, stamp: int | None, duration: int) -> VideoFrame:
    frame = VideoFrame.from_ndarray(np.full((16, 16, 3), number, np.uint8), "rgb24")
    frame.pts, frame.duration, frame.time_base = stamp, duration, Fraction(1, 1000)
    return frame


def _through_the_filter(frames: list[VideoFrame]) -> dict[int, int]:
    """What FFmpeg's own `fps=25` makes of frames: slot -> number."""
    graph = Graph()
    source = graph.add("buffer", video_size="16x16", pix_fmt="rgb24", time_base="1/1000")
    graph.link_nodes(source, graph.add("fps", "25"), graph.add("buffersink")).configure()
    shown = {}
    for frame in [*frames, None]:
        graph.vpush(frame)
        while True:
            try:
                out = graph.vpull()
            except (NeedsMore, EOFError):
                break
            assert out.pts is not None
            shown[out.pts] = int(out.to_ndarray()[0, 0, 0])
    return shown


def _through_picture(
    frames: list[VideoFrame], *, first_slot: int, is_beginning: bool = True
) -> dict[int, int]:
    shown = {}

    def put(first: int, end: int, rgb: np.ndarray) -> None:
        assert first_slot <= first < end <= END
        assert rgb.shape == (96, 96, 3)
        shown.update(dict.fromkeys(range(first, end), int(rgb[48, 48, 0])))

    clock = Clock(start_us=0, unit=Fraction(1, 1000))
    picture = Picture(
        clock, first_slot=first_slot, end_slot=END, usual_duration=40, is_beginning=is_beginning, put=put
    )
    for frame in frames:
        picture.add(frame)
    picture.finish()
    assert picture.done_ms == END * 40
    return shown


@settings(deadline=None)
@given(
    steps_ms=st.lists(st.one_of(st.integers(0, 90), st.integers(-90, 400)), min_size=1, max_size=25),
    start_ms=st.integers(0, 300),
    last_ms=st.integers(1, 500),
    first_slot=st.integers(0, 30),
)
@example(steps_ms=[0, 20, 20, 20], start_ms=0, last_ms=1, first_slot=0)  # halves are rounded up
def test_slots_are_those_of_the_fps_filter(steps_ms, start_ms, last_ms, first_slot):
    stamps = np.maximum(np.cumsum(steps_ms) + start_ms, 0)
    frames = [_frame(number, int(stamp), last_ms) for number, stamp in enumerate(stamps)]
    expected = {k: number for k, number in _through_the_filter(frames).items() if first_slot <= k < END}
    frames = [_frame(number, int(stamp), last_ms) for number, stamp in enumerate(stamps)]
    assert _through_picture(frames, first_slot=first_slot) == expected


def test_a_frame_without_a_stamp_follows_the_one_before_it():
    frames = [_frame(0, 0, 80), _frame(1, None, 80), _frame(2, None, 0)]
    assert _through_picture(frames, first_slot=0) == {0: 0, 1: 0, 2: 1, 3: 1, 4: 2}


def test_a_gap_of_a_thousand_years_ends_with_the_span():
    years = 1_000 * 366 * 24 * 3_600_000
    shown = _through_picture([_frame(0, 0, 40), _frame(1, years, 40)], first_slot=0)
    assert shown == dict.fromkeys(range(END), 0)
    assert _through_picture([_frame(0, -years, 40), _frame(1, 40, 40)], first_slot=0) == {0: 0, 1: 1}


def test_a_first_frame_behind_the_first_slot_is_told_unless_none_is_before_it():
    frames = [_frame(0, 400, 40)]
    assert _through_picture(frames, first_slot=9, is_beginning=True) == {10: 0}
    with pytest.raises(StartedTooLateError, match=r"the first frame belongs into slot 10, not by slot 9"):
        _through_picture(frames, first_slot=9, is_beginning=False)
    assert _through_picture(frames, first_slot=10, is_beginning=False) == {10: 0}


@pytest.mark.parametrize(
    ("matrix", "clockwise", "filters"),
    [
        (None, 0, []),
        ((ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), 0, []),
        ((ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), 0, [("vflip", None)]),
        ((0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), 90, [("transpose", "clock")]),
        ((0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), 90, [("transpose", "cclock_flip")]),
        ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), 180, [("hflip", None), ("vflip", None)]),
        ((-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), 180, [("hflip", None)]),
        ((0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), 270, [("transpose", "cclock")]),
        ((0, -ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), 270, [("transpose", "clock_flip")]),
        ((56756, 32768, 0, -32768, 56756, 0, 0, 0, 1 << 30), 30, [("rotate", "30*PI/180")]),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0), 0, []),
    ],
)
def test_a_display_matrix_becomes_filters(matrix, clockwise, filters):
    # x' = a x + c y, y' = b x + d y with y downwards: (0, 1, -1, 0) takes what is right to the bottom.
    assert rotation_degrees(matrix) == clockwise
    assert rotation_filters(matrix) == filters


def test_frames_are_given_back_at_once_not_when_garbage_is_collected(tmp_path):
    path = make_video(tmp_path, Recipe("v.mp4", seconds=4, audio=None))
    gc.collect()
    gc.disable()
    try:
        with path.open("rb") as file:
            clips = list(decode_span(file, probe(file), [(0, 4_000)]))
        # By type alone: isinstance() asks each object for its class, and some of torch's warn at that.
        num_alive = sum(issubclass(type(thing), VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert clips[0].frames_valid.all()
    assert num_alive < 10
