"""A time range of a video -> clips: one seek, one pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mmeg_model.clip import FRAME_MS, FRAME_SIZE, SAMPLES_PER_FRAME, SAMPLES_PER_MS, Clip, num_frames_between
from mmeg_model.media.container import Clock, Media, damage_skipped, usual_frame_seconds
from mmeg_model.media.crop import WHOLE, Crop
from mmeg_model.media.errors import MediaError
from mmeg_model.media.limits import VideoLimits
from mmeg_model.media.picture import Picture, StartedTooLateError
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.sound import Sound
from mmeg_model.media.start import INTERLEAVED_MS, PRE_ROLL_MS, open_before
from mmeg_model.media.windows import Window

_EARLIER_MS: Final = (
    0,
    2_000,
    10_000,
)  # where a keyframe does not give a frame in time, as at a recovery point


class _Clips:
    """The clips of a span while they fill; memory is taken where something is written."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._clips = [
            Clip(
                start_ms,
                end_ms,
                np.zeros((t, FRAME_SIZE, FRAME_SIZE, 3), np.uint8),
                np.zeros(t, np.bool_),
                np.zeros(t * SAMPLES_PER_FRAME, np.int16),
                np.zeros(t * SAMPLES_PER_FRAME, np.bool_),
            )
            for start_ms, end_ms in windows
            for t in [num_frames_between(start_ms, end_ms)]
        ]

    @property
    def empty(self) -> bool:
        """Whether all clips have been given away."""
        return not self._clips

    def put_picture(self, first: int, end: int, rgb: NDArray[np.uint8]) -> None:
        """Set the slots [first, end)."""
        for clip in self._clips:
            offset = clip.start_ms // FRAME_MS
            if offset >= end:
                break
            part = slice(max(first - offset, 0), max(end - offset, 0))
            clip.frames[part] = rgb
            clip.frames_valid[part] = True

    def put_sound(self, first: int, samples: NDArray[np.int16]) -> None:
        """Set the samples from `first` on."""
        end = first + len(samples)
        for clip in self._clips:
            offset = clip.start_ms * SAMPLES_PER_MS
            if offset >= end:
                break
            start = max(first - offset, 0)
            part = samples[max(offset - first, 0) :][: max(len(clip.samples) - start, 0)]
            clip.samples[start : start + len(part)] = part
            clip.samples_valid[start : start + len(part)] = True

    def take_done(self, done_ms: int) -> Iterator[Clip]:
        """Give away the clips that end, their last frame counted whole, by this time."""
        while self._clips and _end_of_last_frame_ms(self._clips[0]) <= done_ms:
            yield self._clips.pop(0)

    def take_rest(self) -> Iterator[Clip]:
        """Give away what is left."""
        while self._clips:
            yield self._clips.pop(0)


def _end_of_last_frame_ms(clip: Clip) -> int:
    return clip.start_ms + len(clip.frames_valid) * FRAME_MS


class _Sink(Protocol):
    """What takes the frames of a stream."""

    @property
    def done_ms(self) -> int: ...

    def add(self, frame: Any, /) -> None: ...

    def finish(self) -> None: ...


@dataclass
class _Track:
    """One stream of a span: where its frames go, and when no more will come."""

    stream: VideoStream | AudioStream
    sink: _Sink
    clock: Clock
    stream_end_ms: int | None
    """Where the stream ends; None: not known."""


def decode_span(
    file: BinaryIO,
    info: VideoInfo,
    windows: Sequence[Window],
    *,
    crop: Crop = WHOLE,
    on_damaged_packet: Callable[[], None] = lambda: None,
    limits: VideoLimits = VideoLimits(),  # noqa: B008 - frozen
) -> Iterator[Clip]:
    """Decode neighbouring windows of one video, one clip each, in order, each as early as it is complete.

    A packet that does not decode is skipped. Where nothing can be decoded, clips say that nothing is valid.

    Args:
        file: the video's bytes, seekable.
        info: what `probe` found.
        windows: time ranges [start_ms, end_ms); each begins where the one before it ends.
        crop: which part of the picture and of the sound.
        on_damaged_packet: called for each packet of these windows that does not decode.
        limits: those that `probe` was given.

    Raises:
        MediaError: if the file cannot be opened or read, or the box is not within its picture.
        MemoryError: if the process is out of memory.
        ValueError: if the windows are not neighbours.
    """
    if not windows or any(end != start for (_, end), (start, _) in pairwise(windows)):
        raise ValueError(f"windows must be neighbours, at least one, got {list(windows)}")
    _check_box(crop, info)
    clips = _Clips(windows)
    start_ms = windows[0][0]
    video = info.video_codec is not None and _reaches(info.video_end_ms, start_ms)
    audio = info.audio_codec is not None and _reaches(info.audio_end_ms, start_ms)
    for earlier_ms in _EARLIER_MS if video or audio else ():
        keyframe_by_ms = start_ms - earlier_ms
        start = open_before(
            file, start_ms, video=video, audio=audio, keyframe_by_ms=keyframe_by_ms, limits=limits
        )
        is_beginning = start.is_beginning or earlier_ms == _EARLIER_MS[-1]
        with closing(start.media.container), suppress(StartedTooLateError):
            tracks = _tracks(start.media, info, clips, windows, crop, is_beginning=is_beginning)
            yield from _decode(start.packets, tracks, clips, windows, on_damaged_packet)
            break
    yield from clips.take_rest()


def _check_box(crop: Crop, info: VideoInfo) -> None:
    if crop.box is None or info.width is None or info.height is None:
        return
    if not crop.box.fits(width=info.width, height=info.height):
        raise MediaError(
            "decode",
            "BoxOutside",
            f"{crop.box} does not lie within the picture, which has {info.width}×{info.height} pixels",
        )


def _reaches(stream_end_ms: int | None, start_ms: int) -> bool:
    """Whether something may come of a stream at a time: its last packet may hold more than it says."""
    return stream_end_ms is None or stream_end_ms + PRE_ROLL_MS > start_ms


def _tracks(
    media: Media,
    info: VideoInfo,
    clips: _Clips,
    windows: Sequence[Window],
    crop: Crop,
    *,
    is_beginning: bool,
) -> dict[int, _Track]:
    """The tracks, by the index of their stream."""
    first_slot = windows[0][0] // FRAME_MS
    end_slot = first_slot + num_frames_between(windows[0][0], windows[-1][1])
    tracks = {}
    if media.video is not None:
        clock = media.clock(media.video)
        picture = Picture(
            clock,
            first_slot=first_slot,
            end_slot=end_slot,
            usual_duration=clock.duration(usual_frame_seconds(media.video)),
            is_beginning=is_beginning,
            put=clips.put_picture,
            box=crop.box,
        )
        tracks[media.video.index] = _Track(media.video, picture, clock, info.video_end_ms)
    if media.audio is not None:
        clock = media.clock(media.audio)
        sound = Sound(
            clock,
            first_sample=first_slot * SAMPLES_PER_FRAME,
            end_sample=end_slot * SAMPLES_PER_FRAME,
            put=clips.put_sound,
            channel=crop.channel,
        )
        tracks[media.audio.index] = _Track(media.audio, sound, clock, info.audio_end_ms)
    return tracks


def _decode(
    packets: Iterator[Packet],
    tracks: dict[int, _Track],
    clips: _Clips,
    windows: Sequence[Window],
    on_damaged_packet: Callable[[], None],
) -> Iterator[Clip]:
    """Decode until the clips are complete or the file ends."""
    start_ms, end_ms = windows[0][0], windows[-1][1]

    def decode(track: _Track, packet: Packet) -> None:
        def on_damage() -> None:
            if packet.pts is not None and start_ms <= track.clock.at(packet.pts, 1000) < end_ms:
                on_damaged_packet()

        with damage_skipped(on_damage):
            for frame in track.stream.codec_context.decode(packet):
                track.sink.add(frame)

    def finish(track: _Track) -> None:
        with damage_skipped():
            for frame in track.stream.codec_context.decode(None):
                track.sink.add(frame)
        with damage_skipped():
            track.sink.finish()

    done_ms = start_ms + num_frames_between(start_ms, end_ms) * FRAME_MS
    for packet in packets:
        track = tracks[packet.stream_index]
        if track.sink.done_ms < done_ms:
            decode(track, packet)
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is not None:
            at_ms = track.clock.at(stamp, 1000)
            for other in tracks.values():
                if (
                    other is not track
                    and other.stream_end_ms is not None
                    and other.stream_end_ms + INTERLEAVED_MS < at_ms
                    and other.sink.done_ms < done_ms
                ):
                    finish(other)
        yield from clips.take_done(min(track.sink.done_ms for track in tracks.values()))
        if clips.empty:
            return
    for track in tracks.values():
        finish(track)
