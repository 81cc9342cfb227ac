"""Files as bad software, full disks and broken transfers leave them: each takes a file's bytes and gives others."""

import random
import struct
from collections.abc import Callable, Iterator

Damage = Callable[[bytes], bytes]

_VOID = b"\xec"
_CUES_ID, _EBML_DURATION = bytes.fromhex("1c53bb6b"), bytes.fromhex("448988")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_MOV_BOXES = (b"moov", b"trak", b"mdia", b"mvex")
_MOV_DURATION_AT = {b"mvhd": 16, b"mdhd": 16, b"tkhd": 20}
"""How far behind the type of a box, in version 0, its duration stands."""


def cut(share: float) -> Damage:
    """Only this share of a file has arrived."""
    return lambda content: content[: int(len(content) * share)]


def noisy_tail(share: float) -> Damage:
    """Behind this share of a file there is noise of the same length."""

    def damage(content: bytes) -> bytes:
        kept = int(len(content) * share)
        return content[:kept] + random.Random(kept).randbytes(len(content) - kept)

    return damage


def without_cues(content: bytes) -> bytes:
    """A Matroska file whose index, and the pointer to it, are blanked out."""
    assert content.count(_CUES_ID) == 2, "the index, and the pointer to it"
    # An identifier of four bytes is four elements of one byte, void and empty, twice.
    return content.replace(_CUES_ID, (_VOID + b"\x80") * 2, 1).replace(_CUES_ID, bytes.fromhex("ec1c53bb"), 1)


def matroska_duration(factor: float) -> Damage:
    """The duration in the header of a Matroska file is wrong by a factor."""

    def damage(content: bytes) -> bytes:
        at = content.index(_EBML_DURATION) + len(_EBML_DURATION)
        (duration,) = struct.unpack_from(">d", content, at)
        return content[:at] + struct.pack(">d", duration * factor) + content[at + 8 :]

    return damage


def mov_durations(factor: float) -> Damage:
    """All durations in the headers of an mp4 or mov file are wrong by a factor; its index is right."""

    def damage(content: bytes) -> bytes:
        forged = bytearray(content)
        for kind, start in _mov_boxes(content, 0, len(content)):
            if kind in _MOV_DURATION_AT:
                at = start + _MOV_DURATION_AT[kind]
                (duration,) = struct.unpack_from(">I", content, at)
                struct.pack_into(">I", forged, at, min(int(duration * factor), (1 << 31) - 1))
        assert forged != content
        return bytes(forged)

    return damage


def _mov_boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Each box's type, and where its body starts."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, start)
        yield kind, start + 8
        if kind in _MOV_BOXES:
            yield from _mov_boxes(content, start + 8, start + size)
        start += max(size, 8)


def avi_lengths(factor: float) -> Damage:
    """The numbers of frames in the headers of an AVI file are wrong by a factor."""

    def damage(content: bytes) -> bytes:
        forged = bytearray(content)
        for kind, length_at in ((b"avih", 24), (b"strh", 40)):
            at = content.find(kind)
            while at >= 0:
                (length,) = struct.unpack_from("<I", content, at + length_at)
                struct.pack_into("<I", forged, at + length_at, int(length * factor))
                at = content.find(kind, at + 1)
        assert forged != content
        return bytes(forged)

    return damage


def flv_duration(seconds: float) -> Damage:
    """The duration in the metadata of an FLV file is another."""

    def damage(content: bytes) -> bytes:
        at = content.index(b"\x00\x08duration\x00") + 11
        return content[:at] + struct.pack(">d", seconds) + content[at + 8 :]

    return damage


def asf_duration(factor: float) -> Damage:
    """The play duration in the header of an ASF file is wrong by a factor."""

    def damage(content: bytes) -> bytes:
        at = content.index(_ASF_FILE_PROPERTIES) + 64
        (duration,) = struct.unpack_from("<Q", content, at)
        return content[:at] + struct.pack("<Q", int(duration * factor)) + content[at + 8 :]

    return damage


def wav_size(factor: float) -> Damage:
    """The sizes in the header of a WAV file are wrong by a factor."""

    def damage(content: bytes) -> bytes:
        forged = bytearray(content)
        for at in (4, content.index(b"data") + 4):
            (size,) = struct.unpack_from("<I", content, at)
            struct.pack_into("<I", forged, at, min(int(size * factor), (1 << 32) - 1))
        return bytes(forged)

    return damage
