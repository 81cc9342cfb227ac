"""Broken and forged media files, each determined by a number: what storage, bad software and attackers make.

Seeds are short files of the format matrix. A mutant is a seed to which one to four things were done: some know
nothing of the format (bytes changed, blocks swapped, cut), some know where sizes, counts and stamps stand.
"""

import random
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from makers.matrix import CASES, PAIRS, Case, make_case
from makers.video import Recipe

Mutation = Callable[[random.Random, bytearray, bytes], None]
"""Changes the first file in place; the other may be taken from."""

SEED_SECONDS = 1.0
_ODD_SEEDS = ("b-frames.avi", "edit-list.mp4", "live.mkv", "rotated-90.mp4", "fragmented-h264-aac.mp4")


def make_seeds(folder: Path) -> dict[str, bytes]:
    """A short file of each format, by its name."""
    folder.mkdir(exist_ok=True)
    cases = [case for case in CASES if case in PAIRS or str(case) in _ODD_SEEDS]
    return {str(case): make_case(folder, _short(case)).read_bytes() for case in cases}


def _short(case: Case) -> Case:
    recipe: Recipe = case.recipe
    return replace(
        case,
        recipe=replace(recipe, seconds=SEED_SECONDS, gop=10, frame_rate=min(recipe.frame_rate, Fraction(25))),
    )


def mutant(seeds: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """A file name and a content: always the same for the same number and seeds."""
    chance = random.Random(number)
    name = sorted(seeds)[number % len(seeds)]
    # Of another file, of the same container if there is one: its blocks then mean something.
    same = [other for other in sorted(seeds) if Path(other).suffix == Path(name).suffix and other != name]
    other = seeds[chance.choice(same if same and chance.random() < 0.7 else sorted(seeds))]
    content = bytearray(seeds[name])
    done = []
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        mutation = chance.choice(_mutations(bytes(content)))
        done.append(mutation.__name__ if hasattr(mutation, "__name__") else mutation.func.__name__)
        if content:
            mutation(chance, content, other)
    return f"{number:05d}-{'-'.join(done)}-{name}", bytes(content)


def _mutations(content: bytes) -> Sequence[Mutation]:
    """What can be done to this file; what knows its format is drawn as often as what does not."""
    knowing: list[Mutation] = []
    if content[4:8] == b"ftyp":
        knowing = [partial(forge_near, _MOV_SIZES), partial(forge_near, _MOV_TABLES), rename_codec]
    elif content[:4] == b"\x1a\x45\xdf\xa3":
        knowing = [partial(forge_near, _EBML_LENGTHS), partial(forge_near, _EBML_VALUES), rename_codec]
    elif content[:4] == b"RIFF":
        knowing = [partial(forge_near, _RIFF_SIZES), partial(forge_near, _RIFF_HEADERS), rename_codec]
    elif content[:1] == b"\x47":
        knowing = [forge_ts_header, partial(forge_near, _PES)]
    elif content[:4] == b"\0\0\1\xba":
        knowing = [partial(forge_near, _PES)]
    elif content[:3] == b"FLV":
        knowing = [forge_flv_tag]
    elif content[:4] == b"OggS":
        knowing = [forge_ogg_page]
    elif content[:4] == bytes.fromhex("3026b275"):
        knowing = [partial(forge_near, _ASF_SIZES)]
    elif content[:1] == b"\xff":
        knowing = [forge_adts_header]
    return [*_BLIND, *knowing * max(1, len(_BLIND) // max(1, len(knowing)))]


def flip_bytes(chance: random.Random, content: bytearray, other: bytes) -> None:
    for _ in range(chance.choice((1, 4, 32, 256))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_header(chance: random.Random, content: bytearray, other: bytes) -> None:
    for _ in range(chance.choice((1, 2, 8))):
        content[chance.randrange(min(len(content), 1_024))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))


def flip_tail(chance: random.Random, content: bytearray, other: bytes) -> None:
    for _ in range(chance.choice((1, 8, 64))):
        content[-1 - chance.randrange(min(len(content), 4_096))] = chance.randrange(256)


def swap_blocks(chance: random.Random, content: bytearray, other: bytes) -> None:
    size = chance.randrange(1, len(content) // 4 + 2)
    a, b = (chance.randrange(max(1, len(content) - size)) for _ in range(2))
    content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]


def drop_block(chance: random.Random, content: bytearray, other: bytes) -> None:
    start = chance.randrange(len(content))
    del content[start : start + chance.choice((1, 3, 188, 1_000, 5_000))]


def repeat_block(chance: random.Random, content: bytearray, other: bytes) -> None:
    start = chance.randrange(len(content))
    block = content[start : start + chance.choice((1, 188, 1_000))]
    content[start:start] = block * chance.choice((1, 2, 50))


def cut(chance: random.Random, content: bytearray, other: bytes) -> None:
    del content[chance.randrange(len(content)) :]


def put_noise(chance: random.Random, content: bytearray, other: bytes) -> None:
    start = chance.randrange(len(content))
    size = chance.choice((16, 500, 5_000))
    content[start : start + size] = chance.randbytes(size)


def put_zeros(chance: random.Random, content: bytearray, other: bytes) -> None:
    start = chance.randrange(len(content))
    size = chance.choice((4, 500, 5_000))
    content[start : start + size] = bytes(size)


def splice(chance: random.Random, content: bytearray, other: bytes) -> None:
    """The header of one file, and from some byte on the streams of another."""
    share = chance.random()
    content[int(len(content) * share) :] = other[int(len(other) * share) :]


def insert_other(chance: random.Random, content: bytearray, other: bytes) -> None:
    at, start = chance.randrange(len(content)), chance.randrange(max(1, len(other)))
    content[at:at] = other[start : start + chance.choice((188, 2_000, 20_000))]


_BLIND: list[Mutation] = [
    *(flip_bytes, flip_header, flip_tail, swap_blocks, drop_block, repeat_block),
    *(cut, put_noise, put_zeros, splice, insert_other),
]

Spots = Sequence[tuple[bytes, int, str]]
"""A pattern, and a field of a struct format that stands so many bytes behind where it begins."""

_MOV_SIZES: Spots = [
    (
        b"(?:moov|trak|mdia|minf|stbl|st[a-z]{2}|edts|elst|udta|meta|mdat|moof|traf|tr[ue]n|[a-z]vcC|esds)",
        -4,
        ">I",
    )
]
_MOV_TABLES: Spots = [
    (b"(?:stts|stsz|stco|stsc|ctts|stss|elst|trun)", offset, ">I") for offset in (8, 12, 16, 20, 24, 40)
] + [(b"(?:mvhd|mdhd|tkhd)", offset, ">I") for offset in (16, 20, 24)]
_EBML_LENGTHS: Spots = [
    (rb"(?:\x18\x53\x80\x67|\x1f\x43\xb6\x75|\x16\x54\xae\x6b|\x15\x49\xa9\x66|\x1c\x53\xbb\x6b)", 4, ">Q"),
    (rb"(?:\x63\xa2|\x44\x89|\x53\xab|\x53\xac)", 2, ">B"),
    (rb"[\xa3\xae\xa0\xbb\xe0\xe1]", 1, ">H"),
]
_EBML_VALUES: Spots = [
    (rb"\x2a\xd7\xb1", 4, ">I"),  # the unit of stamps
    (rb"\x44\x89\x88", 3, ">Q"),  # duration
    (rb"[\xb0\xba]\x82", 2, ">H"),  # width, height
    (rb"\xe7[\x81-\x88]", 2, ">I"),  # a cluster's stamp
    (rb"\xa3[\x40-\x7f].\x81", 4, ">H"),  # a block's stamp
    (rb"(?:\xb5\x88|\x9f\x81|\x62\x64\x81)", 2, ">I"),  # rate, channels, bits
]
_RIFF_SIZES: Spots = [(b"(?:RIFF|LIST|avih|str[hfl]|movi|idx1|0[0-9](?:dc|wb)|fmt |data)", 4, "<I")]
_RIFF_HEADERS: Spots = [
    *((b"avih", offset, "<I") for offset in (8, 24, 32, 40, 44)),
    *((b"strh", offset, "<I") for offset in (28, 32, 36, 40, 44, 52)),
    *((b"(?:strf|fmt )", offset, "<I") for offset in (8, 10, 12, 16, 20, 22)),
]
_PES: Spots = [
    (rb"\x00\x00\x01[\xbd\xc0-\xef]", 4, ">H"),  # length
    (rb"\x00\x00\x01[\xbd\xc0-\xef]", 6, ">H"),  # flags
    (rb"\x00\x00\x01[\xbd\xc0-\xef]", 9, ">I"),  # stamps
    (rb"\x00\x00\x01\xba", 4, ">I"),  # clock
    (rb"\x00\x00\x01\xb3", 4, ">I"),  # size and rate of MPEG-2 pictures
]
_ASF_SIZES: Spots = [
    (re.escape(bytes.fromhex(guid)), offset, "<I")
    for guid in ("a1dcab8c47a9cf11", "9107dcb7b7a9cf11", "3626b2758e66cf11")
    for offset in (16, 24, 40, 56, 64, 72, 80, 92)
]
_CODECS = [
    *(b"avc1", b"hev1", b"av01", b"vp09", b"mp4v", b"jpeg", b"H264", b"FMP4", b"MJPG"),
    *(b"mp4a", b"samr", b"fLaC", b"Opus", b"sowt", b"ac-3"),
    *(b"V_VP9", b"V_VP8", b"V_AV1", b"A_OPUS", b"A_AAC", b"A_FLAC", b"A_VORBIS"),
]


def forge_near(spots: Spots, chance: random.Random, content: bytearray, other: bytes) -> None:
    """Give some fields that stand in a known distance of a pattern values that somebody may rely on."""
    for _ in range(chance.choice((1, 1, 2, 6))):
        pattern, offset, layout = chance.choice(spots)
        found = [match.start() for match in re.finditer(pattern, content, re.DOTALL)]
        size = struct.calcsize(layout)
        places = [at + offset for at in found if 0 <= at + offset <= len(content) - size]
        if places:
            at = chance.choice(places)
            (value,) = struct.unpack_from(layout, content, at)
            struct.pack_into(layout, content, at, _forged(chance, value, 8 * size))


def _forged(chance: random.Random, value: int, bits: int) -> int:
    most = (1 << bits) - 1
    choices = (0, 1, most, most >> 1, (most >> 1) + 1, value - 1, value + 1, value * 2, value << 8, ~value)
    return chance.choice((*choices, chance.getrandbits(bits))) & most


def rename_codec(chance: random.Random, content: bytearray, other: bytes) -> None:
    """Say that a stream is of another codec."""
    there = [name for name in _CODECS if name in content]
    if there:
        name = chance.choice(there)
        new = chance.choice([codec for codec in _CODECS if len(codec) == len(name)])
        content[:] = content.replace(name, new)


def forge_ts_header(chance: random.Random, content: bytearray, other: bytes) -> None:
    for _ in range(chance.choice((1, 8, 64))):
        start = chance.randrange(max(1, len(content) // 188)) * 188
        at = start + chance.choice((1, 2, 3, 4, 5, 6, 10))
        if at < len(content):
            content[at] = chance.randrange(256)


def forge_flv_tag(chance: random.Random, content: bytearray, other: bytes) -> None:
    """Types, sizes and stamps of tags."""
    starts, at = [], 13
    while at + 11 <= len(content):
        starts.append(at)
        at += 15 + int.from_bytes(content[at + 1 : at + 4], "big")
    for _ in range(chance.choice((1, 4, 16))):
        if starts:
            content[chance.choice(starts) + chance.randrange(11)] = chance.randrange(256)


def forge_ogg_page(chance: random.Random, content: bytearray, other: bytes) -> None:
    """Fields of pages, whose checksums are then made right again."""
    starts = [match.start() for match in re.finditer(b"OggS", content)]
    for _ in range(chance.choice((1, 2, 8))):
        start = chance.choice(starts)
        content[min(start + chance.choice((5, *range(6, 22), 26, 27, 28, 40)), len(content) - 1)] = (
            chance.randrange(256)
        )
        if start + 27 > len(content):
            continue
        body = start + 27 + content[start + 26]
        end = body + sum(content[start + 27 : body])
        content[start + 22 : start + 26] = bytes(4)
        struct.pack_into("<I", content, start + 22, _ogg_checksum(content[start:end]))


def _ogg_checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return value


def forge_adts_header(chance: random.Random, content: bytearray, other: bytes) -> None:
    starts = [match.start() for match in re.finditer(rb"\xff[\xf0-\xff]", content)]
    for _ in range(chance.choice((1, 4, 16))):
        at = chance.choice(starts) + chance.choice((1, 2, 3, 4, 5, 6))
        if at < len(content):
            content[at] = chance.randrange(256)
