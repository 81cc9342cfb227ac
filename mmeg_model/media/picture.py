"""Decoded pictures -> 25 frames a second of 96x96 RGB on the video's clock."""

from collections.abc import Callable
from math import atan2, cos, degrees, radians, sin
from struct import unpack
from typing import Final

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from mmeg_model.clip import FRAME_MS, FRAME_RATE_HZ, FRAME_SIZE
from mmeg_model.media.container import Clock
from mmeg_model.media.crop import Box

_ONE: Final = 1 << 16  # a display matrix counts in 1/65536

Matrix = tuple[int, ...]
"""The nine numbers of a display matrix."""


class StartedTooLateError(Exception):
    """The first frame out of a decoder is shown after the first slot that is wanted."""


class Picture:
    """Puts each decoded frame into its slots k, the times k * 40 ms, as FFmpeg's filter `fps=25` does.

    A frame's slot is its stamp rounded to the nearest. Slot k shows the last frame, in the order of
    decoding, whose slot is at most k. (The filter itself would scale a frame that stands for several
    slots several times, loses its place where the frame size changes, and fills a forged gap of years.)
    """

    def __init__(
        self,
        clock: Clock,
        *,
        first_slot: int,
        end_slot: int,
        usual_duration: int,
        is_beginning: bool,
        put: Callable[[int, int, NDArray[np.uint8]], None],
        box: Box | None = None,
    ) -> None:
        """Take frames of a stream for the slots [first_slot, end_slot).

        Args:
            clock: of the stream.
            first_slot: the first slot that is wanted.
            end_slot: behind the last one.
            usual_duration: how long a frame stands that does not say so itself, in the clock's units.
            is_beginning: whether there is no frame before the first that will come.
            put: takes the picture, (96, 96, 3), of the slots [first, end).
            box: of the picture; None: all of it.
        """
        self._clock = clock
        self._next_slot = first_slot
        self._end_slot = end_slot
        self._usual_duration = usual_duration
        self._is_beginning = is_beginning
        self._put = put
        self._shown: VideoFrame | None = None
        self._shown_until: int | None = None  # a stamp, if no frame follows
        self._scaler = Scaler(box)

    @property
    def done_ms(self) -> int:
        """All before this time is done."""
        return self._next_slot * FRAME_MS

    def add(self, frame: VideoFrame) -> None:
        """Take the next frame out of the decoder.

        Raises:
            StartedTooLateError: at the first frame, if one before it is needed.
            av.error.FFmpegError: if the frame before it cannot be scaled.
        """
        stamp = next((at for at in (frame.pts, frame.dts, self._shown_until) if at is not None), None)
        if stamp is None:
            return
        slot = self._clock.at(stamp, FRAME_RATE_HZ)
        before, self._shown = self._shown, frame
        self._shown_until = stamp + (frame.duration or self._usual_duration)
        if before is not None:
            self._show(before, until=slot)
        elif slot > self._next_slot and not self._is_beginning:
            raise StartedTooLateError(
                f"the first frame belongs into slot {slot}, not by slot {self._next_slot}"
            )
        else:
            self._next_slot = max(self._next_slot, min(slot, self._end_slot))

    def finish(self) -> None:
        """No more frames: the last one stands for its own duration."""
        if self._shown is not None and self._shown_until is not None:
            self._show(self._shown, until=self._clock.at(self._shown_until, FRAME_RATE_HZ))
        self._next_slot = self._end_slot

    def _show(self, frame: VideoFrame, *, until: int) -> None:
        first, self._next_slot = self._next_slot, max(self._next_slot, min(until, self._end_slot))
        if first < self._next_slot:
            self._put(first, self._next_slot, self._scaler.scale(frame))


class Scaler:
    """Turns a frame as its display matrix asks, cuts the box out, and scales it, as the ffmpeg command does."""

    def __init__(self, box: Box | None = None) -> None:
        self._box = box
        self._graph: Graph | None = None
        self._made_for: tuple[object, ...] = ()

    def scale(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Give back the frame as (96, 96, 3), RGB."""
        # Not the matrix itself: a frame whose side data were looked at is in a cycle of references, and its
        # megabytes stay until the garbage collector happens to come by.
        made_for = (
            frame.width,
            frame.height,
            frame.format.name,
            frame.colorspace,
            frame.color_range,
            frame.rotation,
        )
        if self._graph is None or made_for != self._made_for:
            self._graph, self._made_for = _graph(frame, display_matrix(frame), self._box), made_for
        self._graph.push(frame)
        return np.asarray(self._graph.vpull().to_ndarray(), np.uint8)


def _graph(frame: VideoFrame, matrix: Matrix | None, box: Box | None) -> Graph:
    graph = Graph()
    graph.threads = 1
    nodes = [
        graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base="1/1000",
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
    ]
    for name, arguments in rotation_filters(matrix):
        nodes.append(graph.add(name, arguments))
    if box is not None:
        # Exact: else an odd corner would be moved to where the colours have a pixel.
        nodes.append(graph.add("crop", f"{box.width}:{box.height}:{box.x}:{box.y}:exact=1"))
    nodes.append(graph.add("scale", f"{FRAME_SIZE}:{FRAME_SIZE}"))
    nodes.append(graph.add("format", "rgb24"))
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    return graph


def display_matrix(frame: VideoFrame) -> Matrix | None:
    """The display matrix that comes with a frame, if any."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV knows fewer kinds of side data than FFmpeg (not EXIF), and gives none if there is one of them.
        clockwise = -radians(frame.rotation)
        right, down = round(cos(clockwise) * _ONE), round(sin(clockwise) * _ONE)
        return (right, down, 0, -down, right, 0, 0, 0, 1 << 30) if frame.rotation else None
    return unpack("9i", data) if isinstance(data, SideData) else None


def rotation_degrees(matrix: Matrix | None) -> int:
    """How far clockwise the ffmpeg command turns a picture with this matrix, in [0, 360), to whole degrees."""
    if matrix is None:
        return 0
    # av_display_rotation_get() without the scale of the axes
    scale = [(matrix[0] ** 2 + matrix[3] ** 2) ** 0.5, (matrix[1] ** 2 + matrix[4] ** 2) ** 0.5]
    if not all(scale):
        return 0
    return round(degrees(atan2(matrix[1] / scale[1], matrix[0] / scale[0]))) % 360


def rotation_filters(matrix: Matrix | None) -> list[tuple[str, str | None]]:
    """The filters by which the ffmpeg command applies a display matrix (`-autorotate`)."""
    clockwise = rotation_degrees(matrix)
    if matrix is None:
        return []
    if clockwise == 90:
        return [("transpose", "cclock_flip" if matrix[3] > 0 else "clock")]
    if clockwise == 180:
        return [
            (name, None) for name, turned in (("hflip", matrix[0] < 0), ("vflip", matrix[4] < 0)) if turned
        ]
    if clockwise == 270:
        return [("transpose", "clock_flip" if matrix[3] < 0 else "cclock")]
    if clockwise:
        return [("rotate", f"{clockwise}*PI/180")]
    return [("vflip", None)] if matrix[4] < 0 else []
