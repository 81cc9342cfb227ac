"""A time range of a video -> clips: one seek, one pass."""

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from mmeg_model.clip import Clip
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.windows import Window


def decode_span(
    file: BinaryIO,
    info: VideoInfo,
    windows: Sequence[Window],
    *,
    on_damaged_packet: Callable[[], None] = lambda: None,
) -> Iterator[Clip]:
    """Decode neighbouring windows of one video, one clip each, in order."""
    raise MediaError("decode", "Missing", "decoding is being written")
