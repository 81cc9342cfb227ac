"""What a container says of itself, and where it really ends."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from av.packet import Packet
from av.video.frame import VideoFrame

from mmeg_model.media.container import Media, complaints, damage_skipped, open_media, usual_frame_seconds
from mmeg_model.media.errors import MediaError
from mmeg_model.media.limits import VideoLimits
from mmeg_model.media.picture import display_matrix, rotation_degrees
from mmeg_model.media.start import demux

_TAIL_MS: Final = 5_000
_JUMP_MS: Final = 10_000
_MOST_MS: Final = 2**53 - 1  # what a float64 holds: forged lengths go further


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded. Times in whole ms, zero is the container's start time.

    Raises:
        ValueError: if neither stream is there, or the duration is not positive.
    """

    duration_ms: int
    """To the end of the last packet, found by demuxing the tail; the header is not believed."""
    stated_duration_ms: int | None
    """What the header of a container with an index says, else None."""
    container: str
    """FFmpeg's name of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    video_codec: str | None
    """None if there is no picture (cover art is none)."""
    width: int | None
    height: int | None
    """In pixels, as shown: after rotation."""
    rotation_degrees: int
    """How far the stored picture is turned counter-clockwise to be shown: 0, 90, 180 or 270."""
    audio_codec: str | None
    video_end_ms: int | None = None
    """To the end of the picture's last packet, 0 if it has none; None: not known."""
    audio_end_ms: int | None = None
    """To the end of the sound's last packet, 0 if it has none; None: not known."""

    def __post_init__(self) -> None:
        if self.video_codec is None and self.audio_codec is None:
            raise ValueError("a video needs a picture or a sound stream")
        if self.duration_ms <= 0:
            raise ValueError(f"{self.duration_ms = } must be positive")


def probe(file: BinaryIO, limits: VideoLimits = VideoLimits()) -> VideoInfo:  # noqa: B008 - frozen
    """Look at a video's header and demux its tail, or all of it where the tail lacks a stream.

    The limit of seconds is the caller's to hold.

    Raises:
        MediaError: if it is no video or sound file, is beyond a limit, or holds nothing that can be decoded.
        MemoryError: if the process is out of memory.
    """
    media = open_media(file, limits)
    with closing(media.container):
        frame = _first_frame(media)
        if frame is None and media.video is not None:
            _check_pixels(file, limits)
        clockwise = round(rotation_degrees(display_matrix(frame) if frame else None) / 90) * 90 % 360
        stated_ms = min(_stated_ms(media) or 0, _MOST_MS) or None
        ends = _tail_ends(media)
    # Nothing of a container may be touched once it is closed, and not every format can be rewound.
    media = open_media(file, limits)
    with closing(media.container):
        video_end_ms, audio_end_ms = (
            min(end_ms, _MOST_MS) for end_ms in ends or _ends(media, demux(media, "probe"))
        )
        if not video_end_ms and not audio_end_ms:
            raise MediaError(
                "probe", "NoPackets", "the file has a header, but no picture and no sound follow it"
            )
        width, height = (
            (media.video.width or None, media.video.height or None) if media.video else (None, None)
        )
        if clockwise in (90, 270):
            width, height = height, width
        return VideoInfo(
            duration_ms=max(video_end_ms, audio_end_ms),
            stated_duration_ms=stated_ms,
            container=media.container.format.name,
            video_codec=media.video.codec_context.codec.canonical_name if media.video else None,
            width=width,
            height=height,
            rotation_degrees=-clockwise % 360,
            audio_codec=media.audio.codec_context.codec.canonical_name if media.audio else None,
            video_end_ms=video_end_ms if media.video else None,
            audio_end_ms=audio_end_ms if media.audio else None,
        )


def _stated_ms(media: Media) -> int | None:
    """The header's duration of picture and sound, if the container has an index."""
    streams = [stream for stream in (media.video, media.audio) if stream is not None]
    duration_ms = round((media.container.duration or 0) / 1000)
    match media.container.format.name:
        case "mov,mp4,m4a,3gp,3g2,mj2":
            # The container's own duration is also that of captions and chapters.
            ends = [(s, (s.start_time or 0) + s.duration) for s in streams if s.duration]
            return max((media.clock(s).at(end, 1000) for s, end in ends), default=duration_ms) or None
        case "matroska,webm":
            # It states none for a single stream: where all have one, FFmpeg guessed from the size of the file.
            return None if all(stream.duration for stream in streams) else duration_ms or None
        case "avi":
            # FFmpeg shortens what was cut off; the lengths in the header, in units of the time base, remain.
            lengths = (round(1000 * stream.frames * (stream.time_base or 0)) for stream in streams)
            return max(duration_ms, *lengths) or None
    return None


def _tail_ends(media: Media) -> tuple[int, int] | None:
    """Where picture and sound end, from the tail alone; None if that cannot be told from it."""
    duration = media.container.duration
    if not duration or duration <= 1000 * _TAIL_MS:
        return None
    video_end_ms = audio_end_ms = 0
    with damage_skipped():
        media.container.seek((media.container.start_time or 0) + duration - 1000 * _TAIL_MS)
        video_end_ms, audio_end_ms = _ends(media, demux(media, "probe"))
    if (media.video and not video_end_ms) or (media.audio and not audio_end_ms):
        return None
    return video_end_ms, audio_end_ms


class _End:
    """Where a stream ends: with the packet that is shown last.

    A lone packet far ahead of those around it has a damaged stamp, and is left out.
    """

    def __init__(self) -> None:
        self._last = (0, 0)
        self._doubtful: tuple[int, int] | None = None

    def add(self, start_ms: int, end_ms: int) -> None:
        if self._doubtful is not None and start_ms > self._doubtful[0] - _JUMP_MS:
            self._last = self._doubtful
        self._doubtful = None
        if start_ms > self._last[1] + _JUMP_MS:
            self._doubtful = (start_ms, end_ms)
        elif start_ms >= self._last[0]:
            self._last = (start_ms, max(end_ms, 1))

    def get(self) -> int:
        """In ms, 0 if there was no packet."""
        return (self._doubtful or self._last)[1]


def _ends(media: Media, packets: Iterator[Packet]) -> tuple[int, int]:
    """Where picture and sound end, in ms: 0 where there is no packet."""
    streams = {stream.index: stream for stream in (media.video, media.audio) if stream is not None}
    clocks = {index: media.clock(stream) for index, stream in streams.items()}
    usual = dict.fromkeys(streams, 0)
    if media.video is not None:
        usual[media.video.index] = clocks[media.video.index].duration(usual_frame_seconds(media.video))
    ends = {index: _End() for index in streams}
    for packet in packets:
        index = packet.stream_index
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            clock = clocks[index]
            ends[index].add(clock.at(stamp, 1000), clock.at(stamp + (packet.duration or usual[index]), 1000))
    return (
        ends[media.video.index].get() if media.video else 0,
        ends[media.audio.index].get() if media.audio else 0,
    )


def _first_frame(media: Media) -> VideoFrame | None:
    """The first frame that can be decoded."""
    for packet in islice(demux(media, "probe"), 500):
        if packet.stream is media.video:
            with damage_skipped():
                for frame in packet.decode():
                    assert isinstance(frame, VideoFrame)
                    return frame
    return None


def _check_pixels(file: BinaryIO, limits: VideoLimits) -> None:
    """Find out whether frames are not decoded for their size; to FFmpeg they are damaged, which it logs."""

    def decode() -> None:
        media = open_media(file, limits)
        with closing(media.container):
            _first_frame(media)

    for complaint in complaints(decode):
        # "… exceeds specified max pixel count", or "… is invalid": beyond what FFmpeg ever decodes
        size = re.search(r"Picture size (\d+)x(\d+) (?:exceeds|is invalid)", complaint)
        if size and int(size[1]) * int(size[2]) > limits.max_pixels:
            raise MediaError(
                "probe",
                "TooManyPixels",
                f"its picture has {size[1]}×{size[2]} pixels, and the limit is {limits.max_pixels} (--max-pixels)",
            )
