"""What a slice's shards yield inside a pipeline, beside what is done of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from apache_beam.pvalue import TaggedOutput
from makers.shards import make_parquet, make_tar

from mmeg_model.media.decoders import DecoderLimits
from mmeg_model.media.source import VideoRef
from pipelines.decode_clips import DecoderPool
from pipelines.done_videos import DoneVideos, Retake
from pipelines.index_shards import IndexShards, Shard, members_of, shard_reading
from pipelines.tables import Status, VideoPart

READING = shard_reading(bytes_column="video", key_column=None)
STATUSES = ("ok", "partial", "failed")
NOTHING = Retake()


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(1, DecoderLimits(60.0, memory_bytes=256 << 20))
    yield pool
    pool.close()


def done_videos(statuses: dict[VideoRef, Status], retake: Retake = NOTHING) -> DoneVideos:
    videos = sorted(statuses, key=lambda video: video.name_key)
    return DoneVideos(
        np.array([video.name_key for video in videos], "S16"),
        np.array([video.key for video in videos], "S16"),
        np.array([STATUSES.index(statuses[video]) for video in videos], np.uint8),
        retake,
    )


def yielded(pool: DecoderPool, shard: Shard) -> tuple[list[str | None], dict[str | None, str]]:
    """The members that are to be annotated, and the errors of those that cannot be read."""
    members: list[str | None] = []
    errors = {}
    for item in IndexShards(pool, READING).process(shard):
        if isinstance(item, TaggedOutput):
            part = item.value
            assert isinstance(part, VideoPart)
            assert part.video
            (failure,) = part.failures
            assert failure.stage == "find"
            errors[part.video.member] = failure.error
        else:
            members.append(item.member)
    return members, errors


@pytest.fixture
def cut(tmp_path: Path) -> VideoRef:
    """A tar of three videos and a text, cut off in the third video."""
    members = [("a.mp4", b"a" * 600), ("b.mp4", b"b" * 600), ("b.txt", b"text"), ("c.mp4", b"c" * 600)]
    path = make_tar(tmp_path / "cut.tar", members)
    path.write_bytes(path.read_bytes()[: 3 * 1536 + 1024 - 500])
    return VideoRef(str(path), "1")


def member(shard: VideoRef, name: str, version: str = "1") -> VideoRef:
    return VideoRef(shard.location, version, name)


def test_nothing_is_done(pool: DecoderPool, cut: VideoRef) -> None:
    shard = Shard(VideoRef(cut.location), None, False, done_videos({}))
    assert yielded(pool, shard) == (["a.mp4", "b.mp4"], {None: "TruncatedShard"})


def test_what_is_done_is_left_out(pool: DecoderPool, cut: VideoRef) -> None:
    shard = VideoRef(cut.location)
    done = done_videos({member(shard, "a.mp4"): "failed"})
    assert yielded(pool, Shard(shard, "failed", True, done)) == (["b.mp4"], {})
    again = done_videos({member(shard, "a.mp4"): "failed"}, Retake(failed=True))
    assert yielded(pool, Shard(shard, None, True, again)) == (["a.mp4", "b.mp4"], {None: "TruncatedShard"})
    changed = done_videos({member(shard, "a.mp4", version="0"): "ok"}, Retake(changed=True))
    assert yielded(pool, Shard(shard, "failed", True, changed)) == (["a.mp4", "b.mp4"], {})


def test_all_that_is_wrong_with_a_shard_is_one_failure(pool: DecoderPool, tmp_path: Path) -> None:
    path = make_parquet(tmp_path / "a.parquet", {"key": ["a", None, "a"], "video": [b"v"] * 3})
    (*_, last) = IndexShards(pool, READING).process(Shard(VideoRef(str(path)), None, False, done_videos({})))
    assert isinstance(last, TaggedOutput)
    (failure,) = last.value.failures
    assert failure.error == "NullKey"
    assert failure.message == (
        "row 1: no key in the column key; left out; row 2: a key in the column key that a row before has; left out"
    )


def test_members_found_outside_a_pipeline_are_the_same(pool: DecoderPool, cut: VideoRef) -> None:
    found = list(members_of(VideoRef(cut.location), pool.shared(), READING))
    assert [(f.video and f.video.member, f.num_bytes, f.failure and f.failure.error) for f in found] == [
        ("a.mp4", 600, None),
        ("b.mp4", 600, None),
        (None, 0, "TruncatedShard"),
    ]
    assert not any(f.is_shard for f in found)
