from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmeg_model.clip import Clip
from mmeg_model.corpora import read_corpora, shards
from mmeg_model.corpora.decoded import load_clip
from mmeg_model.corpora.shards import NotDecoded, failures_in, read_shards, shard_name, write_shard
from mmeg_model.corpora.utterance import Excerpt, ShardClip, Utterance

ARRAYS = ("frames", "frames_valid", "samples", "samples_valid")


def clip(number: int, *, num_frames: int, picture: bool = True, sound: bool = True) -> Clip:
    chance = np.random.default_rng(number)
    frames_valid = (chance.random(num_frames) < 0.8) & picture
    samples_valid = (chance.random(num_frames * 640) < 0.8) & sound
    frames = chance.integers(0, 256, (num_frames, 96, 96, 3), np.uint8) * frames_valid[:, None, None, None]
    samples = chance.integers(-(2**15), 2**15, num_frames * 640, np.int16) * samples_valid
    return Clip(40 * number, 40 * (number + num_frames) - 7, frames, frames_valid, samples, samples_valid)


CLIPS = [
    clip(0, num_frames=3),
    clip(1, num_frames=1, picture=False),
    clip(2, num_frames=9),
    clip(3, num_frames=2, sound=False),
    clip(4, num_frames=1),
]


def utterance(number: int, *, name: str = "a.mp4") -> Utterance:
    return Utterance(
        Path("/x") / name, "c", f"c/{number}", "ann", "anger", None, "monday", Excerpt(40 * number)
    )


def assert_same(actual: Clip, expected: Clip) -> None:
    assert (actual.start_ms, actual.end_ms) == (expected.start_ms, expected.end_ms)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), strict=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards: the clips, and an utterance that could not be decoded beside a sound."""
    excluded = {"emotion joy outside the four": 3}
    examples = [(utterance(n), c) for n, c in enumerate(CLIPS)]
    write_shard(tmp_path / "c" / shard_name(0, 2), examples, excluded=excluded)
    rest = [(utterance(7), NotDecoded("open: Broken: it is")), (utterance(8, name="a.wav"), CLIPS[1])]
    write_shard(tmp_path / "c" / shard_name(1, 2), rest, excluded=excluded)
    return tmp_path / "c"


@pytest.mark.parametrize("batch_bytes", [1, 100_000, shards.BATCH_BYTES])
def test_clips_come_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int):
    monkeypatch.setattr(shards, "BATCH_BYTES", batch_bytes)
    write_shard(tmp_path / shard_name(0, 1), [(utterance(n), c) for n, c in enumerate(CLIPS)], excluded={})

    utterances = read_shards(tmp_path).utterances

    for number in (3, 0, 4, 2, 1):
        assert_same(load_clip(utterances[number], cache=tmp_path / "cache"), CLIPS[number])
    assert not (tmp_path / "cache").exists()


def test_a_clip_is_a_copy_of_its_own(folder: Path):
    first = load_clip(read_shards(folder).utterances[0], cache=folder)
    for name in ARRAYS:
        assert getattr(first, name).flags.writeable
    first.frames[:] = 0
    assert_same(load_clip(read_shards(folder).utterances[0], cache=folder), CLIPS[0])


def test_labels_and_identity_come_back(folder: Path):
    reading = read_corpora(folder.parent, ["c"])

    assert reading.utterances[2] == Utterance(
        folder / shard_name(0, 2), "c", "c/2", "ann", "anger", None, "monday", ShardClip(2, True)
    )
    assert [u.recording for u in reading.utterances] == ["c/0", "c/1", "c/2", "c/3", "c/4", "c/8"]
    assert [u.has_picture for u in reading.utterances] == [True] * 5 + [False]
    assert reading.utterances[-1].place.endswith("shard-00001-of-00002.arrow, row 1")


def test_what_was_left_out_is_told_as_of_the_corpus_itself(folder: Path):
    assert read_corpora(folder.parent, ["c"]).excluded == {
        "c: emotion joy outside the four": 3,
        "c: not decoded": 1,
    }
    assert failures_in(shards.shards_of(folder)) == [("/x/a.mp4, 0.280 s to end", "open: Broken: it is")]


def test_a_row_that_is_none(folder: Path):
    (first, *_, last) = read_shards(folder).utterances
    for part, message in (
        (ShardClip(5, True), r"shard-00000-of-00002\.arrow has 5 rows, none with the number 5"),
        (ShardClip(-1, True), "none with the number -1"),
    ):
        with pytest.raises(ValueError, match=message):
            shards.read_shard_clip(first.path, part.row)
    with pytest.raises(ValueError, match=r"row 0, holds no clip: open: Broken"):
        shards.read_shard_clip(last.path, 0)


def test_clips_of_another_decoder_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "DECODE_VERSION", 99)
    shards._open_shard.cache_clear()
    with pytest.raises(
        ValueError, match=r"shard-00000-of-00002\.arrow was written with decode_version 1, and this is 99"
    ):
        read_shards(folder)
    with pytest.raises(ValueError, match="prepare the corpus again"):
        shards.read_shard_clip(folder / shard_name(0, 2), 0)


def test_a_missing_shard_is_told(folder: Path):
    (folder / shard_name(0, 2)).unlink()
    with pytest.raises(ValueError, match=r"1 of 2 shards are missing, the first is shard-00000-of-00002"):
        read_corpora(folder.parent, ["c"])


def test_shards_of_two_preparations(folder: Path):
    write_shard(folder / shard_name(0, 1), [(utterance(0), CLIPS[0])], excluded={})
    with pytest.raises(ValueError, match="holds shards of 2 preparations"):
        read_shards(folder)


def test_a_cut_shard_is_named(folder: Path):
    file = folder / shard_name(0, 2)
    file.write_bytes(file.read_bytes()[:-1_000])
    with pytest.raises(ValueError, match=r"shard-00000-of-00002\.arrow cannot be read .*: remove it and run"):
        read_shards(folder)


def test_a_damaged_clip_is_named(folder: Path):
    file = folder / shard_name(0, 2)
    whole = file.read_bytes()
    file.write_bytes(whole[:2_000] + bytes(len(whole) - 7_000) + whole[-5_000:])  # from the times on
    with pytest.raises(ValueError, match=r"shard-00000-of-00002\.arrow cannot be read .*: remove it and run"):
        shards.read_shard_clip(file, 2)


def test_a_damaged_label_is_named(folder: Path):
    file = folder / shard_name(0, 2)
    file.write_bytes(file.read_bytes().replace(b"c/0", b"c/\xff"))
    with pytest.raises(ValueError, match=r"shard-00000-of-00002\.arrow cannot be read .*: remove it and run"):
        read_shards(folder)


def test_a_shard_whose_examples_break_off_is_not_there(tmp_path: Path):
    def examples() -> Iterator[tuple[Utterance, Clip]]:
        yield utterance(0), CLIPS[0]
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        write_shard(tmp_path / shard_name(0, 1), examples(), excluded={})
    assert list(tmp_path.iterdir()) == []


def test_no_clip_at_all(tmp_path: Path):
    write_shard(tmp_path / shard_name(0, 1), [(utterance(0), NotDecoded("broken"))], excluded={})
    with pytest.raises(
        ValueError, match=r"no example in the shards of .*: left out were \{'not decoded': 1\}"
    ):
        read_shards(tmp_path)
