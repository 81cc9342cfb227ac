"""Where to start reading, so that a time range alone decodes to what the whole file would give there."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain
from operator import itemgetter
from typing import BinaryIO, Final

from av.packet import Packet
from av.stream import Discard

from mmeg_model.media.container import Media, damage_skipped, open_media
from mmeg_model.media.errors import Stage
from mmeg_model.media.limits import VideoLimits

ANCHOR_MS: Final = 10_000
"""Sound is placed anew by its stamps at the first packet of each 10 s (see `sound.Sound`)."""
PRE_ROLL_MS: Final = 500
INTERLEAVED_MS: Final = 10_000
"""How far behind the other stream's packets a packet may lie in a file."""

_STEPS_BACK_MS: Final = (0, 2_000, 8_000, 32_000, 128_000)


def demux(media: Media, stage: Stage) -> Iterator[Packet]:
    """Packets of the two streams that count, to the end or to where the container is too broken to go on.

    Raises:
        MediaError: of this stage, if the file cannot be read.
    """
    streams = [stream for stream in (media.video, media.audio) if stream is not None]
    # PyAV ends with an IndexError where a stream turned up in mid-file.
    with suppress(IndexError), damage_skipped():
        for packet in media.container.demux(*streams):
            if packet.size:  # an empty one would tell a decoder that this is the end
                yield packet
    media.reader.raise_failure(stage)


@dataclass(frozen=True)
class Start:
    """An open container, and its packets from a place from which a time range can be decoded."""

    media: Media
    packets: Iterator[Packet]
    is_beginning: bool
    """Whether the picture's packets begin where the file does."""


def open_before(
    file: BinaryIO, start_ms: int, *, video: bool, audio: bool, keyframe_by_ms: int, limits: VideoLimits
) -> Start:
    """Open a video, and read packets from a place from which all from start_ms on can be decoded.

    Those of the picture begin at the last keyframe shown by keyframe_by_ms (at most start_ms); those of the
    sound at least 0.5 s before start_ms, ahead of a multiple of 10 s. Streams not asked for are left out.

    Raises:
        MediaError: if the file cannot be opened or read.
    """
    media = _open(file, limits, video=video, audio=audio)
    hold = _Hold(start_ms=start_ms, keyframe_by_ms=keyframe_by_ms)
    start = _seek_before(media, hold)
    if start is not None:
        return start
    media.container.close()
    media = _open(file, limits, video=video, audio=audio)
    packets = demux(media, "decode")
    held = hold.read(media, packets)
    return Start(media, chain(held.packets, packets), is_beginning=not held.has_keyframe)


def _open(file: BinaryIO, limits: VideoLimits, *, video: bool, audio: bool) -> Media:
    media = open_media(file, limits)
    media = replace(media, video=media.video if video else None, audio=media.audio if audio else None)
    for stream in media.container.streams:
        if stream not in (media.video, media.audio):
            stream.discard = Discard.all
    return media


def _seek_before(media: Media, hold: "_Hold") -> Start | None:
    """Seek until the landing is early enough; None if it never is."""
    stream = media.video or media.audio
    assert stream is not None
    target_ms = min(hold.anchor_ms - PRE_ROLL_MS, hold.keyframe_by_ms) if media.audio else hold.keyframe_by_ms
    last: _Held | None = None
    for back_ms in _STEPS_BACK_MS:
        if target_ms - back_ms <= 0:
            break
        with damage_skipped():
            media.container.seek(media.clock(stream).stamp(target_ms - back_ms), stream=stream)
            packets = demux(media, "decode")
            held = hold.read(media, packets)
            has_sound = held.first_sound_ms is not None and held.first_sound_ms < hold.anchor_ms
            if last is not None and held.first_picture_ms != last.first_picture_ms:
                # The same first sound from further back: there is a gap in the sound.
                has_sound |= held.first_sound_ms == last.first_sound_ms
            if (held.has_keyframe or not media.video) and (has_sound or not media.audio):
                return Start(media, chain(held.packets, packets), is_beginning=False)
            last = held
    return None


@dataclass(frozen=True)
class _Held:
    packets: list[Packet]
    has_keyframe: bool
    first_picture_ms: int | None
    first_sound_ms: int | None


@dataclass(frozen=True)
class _Hold:
    """Reads on to start_ms and keeps what is needed: from the last keyframe, and from before the anchor."""

    start_ms: int
    keyframe_by_ms: int

    @property
    def anchor_ms(self) -> int:
        return (self.start_ms - PRE_ROLL_MS) // ANCHOR_MS * ANCHOR_MS

    def read(self, media: Media, packets: Iterator[Packet]) -> _Held:
        clocks = {stream.index: media.clock(stream) for stream in (media.video, media.audio) if stream}
        pictures: list[tuple[int, Packet]] = []
        sounds: list[tuple[int, Packet]] = []
        has_keyframe = False
        late_ms = INTERLEAVED_MS if media.video else 0
        first_ms: dict[int, int] = {}
        for number, packet in enumerate(packets):
            stamp = packet.pts if packet.pts is not None else packet.dts
            at_ms = None if stamp is None else clocks[packet.stream_index].at(stamp, 1000)
            if at_ms is not None:
                first_ms.setdefault(packet.stream_index, at_ms)
            if packet.stream is media.video:
                if packet.is_keyframe and at_ms is not None and at_ms <= self.keyframe_by_ms:
                    has_keyframe = True
                    pictures.clear()
                pictures.append((number, packet))
                if (
                    packet.dts is not None
                    and clocks[packet.stream_index].at(packet.dts, 1000) >= self.start_ms
                ):
                    break
            else:
                if at_ms is None or at_ms >= self.anchor_ms - PRE_ROLL_MS:
                    sounds.append((number, packet))
            if at_ms is not None and at_ms >= self.start_ms + late_ms:
                break
        return _Held(
            [packet for _, packet in merge(pictures, sounds, key=itemgetter(0))],
            has_keyframe,
            first_picture_ms=first_ms.get(media.video.index) if media.video else None,
            first_sound_ms=first_ms.get(media.audio.index) if media.audio else None,
        )
