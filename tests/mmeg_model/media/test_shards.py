"""Shards through real decoder processes: what is found, what is unpacked, and what is only said to be there."""

import dataclasses
import gzip
import json
import os
import random
import struct
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from makers.shards import make_parquet, make_tar, webdataset_members
from makers.video import Recipe, make_video

from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.errors import MediaError
from mmeg_model.media.shards import Indexed, ShardReading
from mmeg_model.media.source import ParquetRow, VideoRef

READING = ShardReading((".mp4",), bytes_column="video")
LIMITS = DecoderLimits(60.0, memory_bytes=256 << 20, unpacked_bytes=64 << 20)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(num_decoders=1, limits=LIMITS) as decoders:
        yield decoders


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("videos"), Recipe("v.mp4", seconds=2.0)).read_bytes()


def index(decoders: Decoders, path: Path, reading: ShardReading = READING) -> list[Indexed]:
    return list(decoders.index(VideoRef(str(path)), reading))


def outcome(decoders: Decoders, video: VideoRef) -> str | int:
    """The duration of a video in milliseconds, or why there is none."""
    try:
        return decoders.probe(video).duration_ms
    except MediaError as error:
        return f"{error.stage}: {error.error}"


def errors_of(found: list[Indexed]) -> list[str]:
    return [item.error.error for item in found if item.error]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "A.TAR"])
def test_every_member_is_a_video_of_its_own(
    name: str, decoders: Decoders, video: bytes, tmp_path: Path
) -> None:
    shard = make_tar(tmp_path / name.lower(), webdataset_members([video, b"no video", video]))
    shard = shard.rename(tmp_path / name)
    others: list[int] = []
    found = list(decoders.index(VideoRef(str(shard), None), READING, on_others=others.append))
    assert [item.video.member for item in found] == ["000000.mp4", "000001.mp4", "000002.mp4"]
    assert errors_of(found) == []
    assert others == [6]
    assert [outcome(decoders, item.video) for item in found] == [2_000, "open: InvalidDataError", 2_000]


def test_the_version_of_a_member_is_that_of_its_shard(
    decoders: Decoders, video: bytes, tmp_path: Path
) -> None:
    for shard in (
        make_tar(tmp_path / "a.tar", webdataset_members([video])),
        make_tar(tmp_path / "a.tar.gz", webdataset_members([video])),
        make_parquet(tmp_path / "a.parquet", {"video": [video]}),
    ):
        status = shard.stat()
        version = f"{status.st_size}-{status.st_mtime_ns}"
        (member,) = decoders.index(VideoRef(str(shard), version), READING)
        assert member.video.version == version
        os.utime(shard, ns=(1, 1))
        with Decoders(num_decoders=1, limits=LIMITS) as others:  # which have unpacked nothing yet
            assert outcome(others, member.video) == "open: VersionChanged"
            (changed,) = others.index(VideoRef(str(shard), version), READING)
        assert changed.video.member is None
        assert changed.error
        assert (changed.error.stage, changed.error.error) == ("find", "VersionChanged")


def test_parquet_rows_that_hold_no_video(decoders: Decoders, video: bytes, tmp_path: Path) -> None:
    rows = [video, None, b"", b"no video", video]
    shard = make_parquet(tmp_path / "a.parquet", {"video": rows}, row_group_size=2)
    found = index(decoders, shard)
    assert [item.video.parquet_row for item in found] == [
        ParquetRow(*divmod(number, 2), "video") for number in range(5)
    ]
    assert [outcome(decoders, item.video) for item in found] == [
        2_000,
        "open: NullBytes",
        "open: InvalidDataError",
        "open: InvalidDataError",
        2_000,
    ]


def test_a_compressed_tar_that_was_cut_off_has_the_members_before(
    decoders: Decoders, video: bytes, tmp_path: Path
) -> None:
    noise = random.Random(0).randbytes(200_000)
    shard = make_tar(tmp_path / "a.tar.gz", [("a.mp4", video), ("noise.bin", noise), ("b.mp4", video)])
    shard.write_bytes(shard.read_bytes()[: len(video) + 100_000])
    good, broken = index(decoders, shard)
    assert outcome(decoders, good.video) == 2_000
    assert (broken.video.member, errors_of([broken])) == (None, ["TruncatedShard"])
    assert broken.error
    assert "the compressed data end too early, behind" in broken.error.message


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.tar.gz", b"no gzip", "NotCompressed"),
        ("a.tar.gz", b"", "NotCompressed"),
        ("a.tar.gz", gzip.compress(b"no tar" * 1_000), "NotATar"),
        ("a.tar.xz", b"\xfd7zXZ\0" + b"\xff" * 100, "BrokenCompression"),
        ("a.tar.bz2", b"BZh9" + b"\xff" * 100, "BrokenCompression"),
        ("a.tar.gz", gzip.compress(b"tar")[:10] + b"\xff" * 100, "BrokenCompression"),
        ("a.tar", b"no tar" * 1_000, "NotATar"),
        ("a.tar", b"", "NotATar"),
        ("a.parquet", b"no parquet", "BrokenParquet"),
    ],
)
def test_what_is_no_shard_is_one_error(
    name: str, content: bytes, error: str, decoders: Decoders, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    (found,) = index(decoders, tmp_path / name)
    assert found.video.member is None
    assert errors_of([found]) == [error]


def test_what_is_not_there_is_one_error(decoders: Decoders, tmp_path: Path) -> None:
    for name in ("a.tar", "a.tar.gz", "a.parquet"):
        (found,) = index(decoders, tmp_path / name)
        assert found.error
        assert (found.error.stage, found.error.error) == ("find", "FileNotFoundError")


def test_a_bomb_is_one_error_and_takes_no_more_than_its_limit(decoders: Decoders, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as bomb:
        for _ in range(100):  # 100 MB in 0.4 MB
            bomb.write(bytes(1 << 20))
    (found,) = index(decoders, tmp_path / "bomb.tar.gz")
    assert found.error
    assert (
        str(found.error)
        == "find: UnpackedTooLarge: unpacked it takes more than 67108864 bytes; see --unpacked-gib"
    )


def test_a_row_group_that_unpacks_to_too_much_has_the_rows_before(tmp_path: Path, video: bytes) -> None:
    rows = [video] + [bytes(2 << 20)] * 8
    shard = make_parquet(tmp_path / "bomb.parquet", {"video": rows}, use_dictionary=False, compression="zstd")
    assert shard.stat().st_size < 1 << 20
    limits = dataclasses.replace(LIMITS, unpacked_bytes=8 << 20)
    with Decoders(num_decoders=1, limits=limits) as decoders:
        found = index(decoders, shard)
        outcomes = [outcome(decoders, item.video) for item in found]
    assert outcomes == [2_000] + ["open: InvalidDataError"] * 3 + ["open: UnpackedTooLarge"] * 5


def test_a_page_that_needs_too_much_memory_is_an_error_of_its_rows(
    decoders: Decoders, tmp_path: Path
) -> None:
    shard = make_parquet(tmp_path / "page.parquet", {"video": [bytes(100 << 20)] * 2}, compression="zstd")
    assert [outcome(decoders, item.video) for item in index(decoders, shard)] == [
        "open: MemoryLimitExceeded"
    ] * 2


def test_many_empty_members_take_little_memory(tmp_path: Path) -> None:
    block = tarfile.TarInfo("empty.txt").tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "many.tar.gz").write_bytes(gzip.compress(block * 50_000 + bytes(1024), compresslevel=1))
    others: list[int] = []
    with Decoders(num_decoders=1, limits=DecoderLimits(60.0, memory_bytes=128 << 20)) as tight:
        found = list(tight.index(VideoRef(str(tmp_path / "many.tar.gz")), READING, on_others=others.append))
    assert found == []
    assert others == [50_000]


def test_names_of_a_shard_open_nothing(decoders: Decoders, video: bytes, tmp_path: Path) -> None:
    (tmp_path / "canary.mp4").write_bytes(video)
    names = ["../canary.mp4", str(tmp_path / "canary.mp4"), "canary.mp4", "gs://bucket/canary.mp4"]
    shard = make_tar(tmp_path / "a.tar", [(name, b"no video") for name in names])
    found = index(decoders, shard)
    assert [item.video.member for item in found] == names
    assert {outcome(decoders, item.video) for item in found} == {"open: InvalidDataError"}


def test_mutated_shards_have_an_outcome(decoders: Decoders, video: bytes, tmp_path: Path) -> None:
    """Footers and headers with forged lengths: each shard says something, and no process is needed a third time."""
    rng = random.Random(1)
    seeds = [
        make_tar(tmp_path / "seed.tar", webdataset_members([video] * 3)),
        make_parquet(
            tmp_path / "seed.parquet", {"key": ["a", "b", "c"], "video": [video] * 3}, row_group_size=2
        ),
    ]
    for number in range(60):
        seed = seeds[number % 2]
        content = bytearray(seed.read_bytes())
        forged = range(len(content) - 900, len(content)) if seed.suffix == ".parquet" else range(512)
        for _ in range(rng.choice([1, 2, 8])):
            content[rng.choice(forged)] = rng.choice([0, 0xFF, 0x7F, rng.randrange(256)])
        shard = tmp_path / f"{number}{seed.suffix}"
        shard.write_bytes(content)
        found = index(decoders, shard)
        assert found, "neither a member nor an error"
        for item in found:
            if item.error is None:
                outcome(decoders, item.video)


def test_packs_are_unpacked_once_and_given_up_when_others_need_the_space(
    video: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [make_tar(tmp_path / f"{i}.tar.gz", webdataset_members([video] * 2)) for i in range(3)]
    unpacked: list[str] = []
    limits = dataclasses.replace(LIMITS, unpacked_bytes=5 * len(video))  # two of the three fit
    with Decoders(num_decoders=1, limits=limits) as decoders:
        fill = decoders._shards._packs._fill
        monkeypatch.setattr(
            decoders._shards._packs, "_fill", lambda pack, into: (unpacked.append(pack.shard.location[-8]), fill(pack, into))
        )  # fmt: skip
        members = [item.video for shard in shards for item in index(decoders, shard)]
        assert "".join(unpacked) == "012"
        for number in (5, 4, 3, 2, 0, 1, 0, 5):
            assert outcome(decoders, members[number]) == 2_000
        assert "".join(unpacked) == "01202"
    assert decoders._shards._packs._kept == {}


def test_a_full_temporary_folder_is_an_error_of_the_shard(
    video: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    shard = make_tar(tmp_path / "a.tar.gz", [("a.mp4", bytes(1 << 20))])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Decoders(num_decoders=1, limits=LIMITS) as decoders:
        decoders.start()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))  # Python ignores SIGXFSZ
        try:
            (found,) = index(decoders, shard)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found.error
    assert found.error.message == (
        "the temporary folder could not take it: File too large; set TMPDIR to a larger one"
    )


TALKER = """
import os, sys
channel = int(sys.argv[3])
os.write(channel, bytes.fromhex(sys.argv[1]))
os.read(channel, 1 << 16)
os.write(channel, bytes.fromhex(sys.argv[2]))
"""


def framed(value: Any) -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("!I", len(text)) + text


def that_say(*messages: Any) -> Decoders:
    """Decoders whose processes give one answer, whatever they are asked, and end."""
    answer = b"".join(map(framed, messages))
    command = (sys.executable, "-I", "-S", "-c", TALKER, framed({"ready": True}).hex(), answer.hex())
    return Decoders(num_decoders=1, limits=LIMITS, command=command)


GOOD = ["a.mp4", 0, 10, None, None]
END = {"end": True, "errors": [], "num_others": 0}


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([{}], "no members"),
        ([{"members": 5}], "no members"),
        ([{"members": ["a.mp4"]}], "a member of unknown shape"),
        ([{"members": [["a.mp4", 0, 10]]}], "a member of unknown shape"),
        ([{"members": [["a.mp4", 0.5, 10, None, None]]}], "a member of unknown shape"),
        ([{"members": [[None, 0, 10, None, None]]}], "a member of unknown shape"),
        ([{"members": [["", 0, 10, None, None]]}], "a member named ''"),
        ([{"members": [["a\0", 0, 10, None, None]]}], "a member named 'a"),
        ([{"members": [["a" * 5_000, 0, 10, None, None]]}], "a member named 'aaaa"),
        ([{"members": [["a.mp4", 0, 101, None, None]]}], "the member 'a.mp4', 101 bytes from 0"),
        ([{"members": [["a.mp4", -1, 10, None, None]]}], "the member 'a.mp4', 10 bytes from -1"),
        ([{"members": [["a.mp4", 10, -1, None, None]]}], "the member 'a.mp4', -1 bytes from 10"),
        ([{"members": []}] * 10, "messages without members, again and again"),
        ([{"members": [GOOD]}, {"end": True}], "an end without errors"),
        ([{"end": True, "errors": [["E"]], "num_others": 0}], "an error without name and sentence"),
        ([{"end": True, "errors": [["E", "m"]] * 101, "num_others": 0}], "an end without errors"),
    ],
)  # fmt: skip
def test_hostile_answers_about_members(messages: list[Any], what: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(100))
    reading = ShardReading((".mp4",))
    with that_say(*messages) as decoders:
        *members, failed = decoders.index(VideoRef(str(tmp_path / "a.tar")), reading)
    assert all(item.error is None for item in members)
    assert failed.error
    assert (failed.error.stage, failed.error.error) == ("find", "BadMessage")
    assert what in failed.error.message


def test_an_answer_that_breaks_off_is_asked_for_again_and_no_member_comes_twice(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(100))
    other = ["b.mp4", 0, 5, None, None]
    with that_say({"members": [GOOD]}, {"members": [other]}) as decoders:
        *members, failed = decoders.index(VideoRef(str(tmp_path / "a.tar")), ShardReading((".mp4",)))
        assert decoders.num_retries == 1
    assert [item.video.member for item in members] == ["a.mp4", "b.mp4"]
    assert errors_of([failed]) == ["DecoderDied"]


def test_a_member_that_is_told_twice_comes_once(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(100))
    with that_say({"members": [GOOD, GOOD]}, END) as decoders:
        (member,) = decoders.index(VideoRef(str(tmp_path / "a.tar")), ShardReading((".mp4",)))
        assert decoders.num_retries == 1  # of a process that lies nothing more is wanted
    assert member.video.member == "a.mp4"


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([{"piece": -1}], "no piece of the shard"),
        ([{"piece": 0.5}], "no piece of the shard"),
        ([{"piece": None}], "no piece of the shard"),
        ([{"piece": 0}], "no piece of the shard"),
        ([{"members": []}], "no piece of the shard"),
    ],
)
def test_hostile_answers_about_content(messages: list[Any], what: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(bytes(100))
    with that_say(*messages) as decoders:
        *_, failed = decoders.index(VideoRef(str(tmp_path / "a.tar.gz")), ShardReading((".mp4",)))
    assert failed.error
    assert failed.error.error == "BadMessage"
    assert what in failed.error.message
