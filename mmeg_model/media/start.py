"""Where to start reading, so that a time range alone decodes to what the whole file would give there."""

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, Final

import av
from av.packet import Packet
from av.stream import Discard

from mmeg_model.media.container import Media, open_media
from mmeg_model.media.errors import MediaError

ANCHOR_MS: Final = 10_000
"""Sound is placed anew by its stamps at the first packet of each 10 s (see `sound.Sound`)."""
PRE_ROLL_MS: Final = 500
INTERLEAVED_MS: Final = 10_000
"""How far behind the other stream's packets a packet may lie in a file."""

SEEKABLE: Final = frozenset(
    {"avi", "flac", "flv", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mpegts", "wav"}
)
"""Formats whose stamps after a seek are those of a read from the start. The others are read from the start."""

_STEPS_BACK_MS: Final = (0, 2_000, 8_000, 32_000, 128_000)


def demux(media: Media) -> Iterator[Packet]:
    """Packets of the two streams that count, to the end or to where the container is too broken to go on.

    Raises:
        MediaError: if the file cannot be read.
    """
    streams = [stream for stream in (media.video, media.audio) if stream is not None]
    try:
        for packet in media.container.demux(*streams):
            if packet.size:  # an empty one would tell a decoder that this is the end
                yield packet
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return
    except OSError as error:
        raise MediaError("decode", type(error).__name__, f"the file cannot be read: {error}") from error


def open_before(file: BinaryIO, start_ms: int, *, video: bool, audio: bool) -> tuple[Media, Iterator[Packet]]:
    """Open a video, and read packets from a place from which all from start_ms on can be decoded.

    Those of the picture begin at the last keyframe shown at or before start_ms; those of the sound at
    least 0.5 s before it, ahead of a multiple of 10 s.

    Raises:
        MediaError: if the file cannot be opened or read.
    """
    media = _open(file, video=video, audio=audio)
    anchor_ms = (start_ms - PRE_ROLL_MS) // ANCHOR_MS * ANCHOR_MS
    target_ms = anchor_ms - PRE_ROLL_MS if media.audio else start_ms
    if target_ms > 0 and media.container.format.name in SEEKABLE:
        packets = _seek_before(media, target_ms, start_ms=start_ms, anchor_ms=anchor_ms)
        if packets is not None:
            return media, packets
        media.container.close()
        media = _open(file, video=video, audio=audio)
    packets = demux(media)
    held, _, _ = _hold(media, packets, start_ms=start_ms, anchor_ms=anchor_ms)
    return media, chain(held, packets)


def _open(file: BinaryIO, *, video: bool, audio: bool) -> Media:
    media = open_media(file)
    media = Media(media.container, media.video if video else None, media.audio if audio else None)
    for stream in media.container.streams:
        if stream not in (media.video, media.audio):
            stream.discard = Discard.all
    return media


def _seek_before(media: Media, target_ms: int, *, start_ms: int, anchor_ms: int) -> Iterator[Packet] | None:
    """Seek until the landing is early enough; None if it never is."""
    stream = media.video or media.audio
    assert stream is not None
    last_first_sound_ms: int | None = None
    for back_ms in _STEPS_BACK_MS:
        if target_ms - back_ms <= 0:
            break
        try:
            media.container.seek(media.clock(stream).stamp(target_ms - back_ms), stream=stream)
        except av.error.FFmpegError:
            break
        packets = demux(media)
        held, has_keyframe, first_sound_ms = _hold(media, packets, start_ms=start_ms, anchor_ms=anchor_ms)
        # The same first sound from further back: there is a gap in the sound.
        has_sound = first_sound_ms is not None and (
            first_sound_ms < anchor_ms or first_sound_ms == last_first_sound_ms
        )
        if (has_keyframe or not media.video) and (has_sound or not media.audio):
            return chain(held, packets)
        last_first_sound_ms = first_sound_ms
    return None


def _hold(
    media: Media, packets: Iterator[Packet], *, start_ms: int, anchor_ms: int
) -> tuple[list[Packet], bool, int | None]:
    """Read on to start_ms and keep what is needed: from the last keyframe, and from before the anchor.

    Gives back the packets, whether there is a keyframe, and where the sound begins.
    """
    clocks = {stream.index: media.clock(stream) for stream in (media.video, media.audio) if stream}
    pictures: list[Packet] = []
    sounds: list[Packet] = []
    has_keyframe = False
    first_sound_ms: int | None = None
    for packet in packets:
        clock = clocks[packet.stream_index]
        shown = packet.pts if packet.pts is not None else packet.dts
        shown_ms = None if shown is None else clock.at(shown, 1000)
        if packet.stream is media.video:
            if packet.is_keyframe and shown_ms is not None and shown_ms <= start_ms:
                has_keyframe = True
                pictures.clear()
            pictures.append(packet)
            if packet.dts is not None and clock.at(packet.dts, 1000) >= start_ms:
                break
        else:
            if first_sound_ms is None:
                first_sound_ms = shown_ms
            if shown_ms is None or shown_ms >= anchor_ms - PRE_ROLL_MS:
                sounds.append(packet)
            if shown_ms is not None and shown_ms >= start_ms + (INTERLEAVED_MS if media.video else 0):
                break
    return sounds + pictures, has_keyframe, first_sound_ms
