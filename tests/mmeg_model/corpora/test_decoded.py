import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmeg_model.corpora.decoded import default_cache, load_clip
from mmeg_model.corpora.synthetic import read_manifest, write_corpus
from mmeg_model.corpora.utterance import Utterance


@pytest.fixture
def utterance(tmp_path: Path) -> Utterance:
    write_corpus(tmp_path / "corpus", num_videos=1, seconds=0.8)
    return read_manifest(tmp_path / "corpus").utterances[0]


def test_the_whole_utterance_is_one_clip(utterance: Utterance, tmp_path: Path):
    clip = load_clip(utterance, cache=tmp_path / "cache")

    assert clip.start_ms == 0
    assert clip.frames_valid.sum() == 20
    assert clip.has_audio
    # The neutral shape is grey, 140 of 255, on a ground of 30.
    assert 120 < clip.frames[0].max() < 160
    assert abs(np.median(clip.frames[0]) - 30) < 5


def test_the_second_time_it_comes_from_the_cache(utterance: Utterance, tmp_path: Path):
    first = load_clip(utterance, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    before = kept.stat()

    second = load_clip(utterance, cache=tmp_path / "cache")

    assert vars(second).keys() == vars(first).keys()
    assert all(np.array_equal(vars(first)[name], vars(second)[name]) for name in vars(first))
    assert kept.stat() == before


@pytest.mark.parametrize("kept", [b"", b"no archive", b"PK\x03\x04" + bytes(100), None])
def test_what_is_damaged_in_the_cache_is_decoded_anew(
    utterance: Utterance, tmp_path: Path, kept: bytes | None
):
    first = load_clip(utterance, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("*.npz")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if kept is None else kept)

    second = load_clip(utterance, cache=tmp_path / "cache")

    assert all(np.array_equal(vars(first)[name], vars(second)[name]) for name in vars(first))
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_no_example(
    utterance: Utterance, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "cache").write_text("a file where the folder should be")

    assert load_clip(utterance, cache=tmp_path / "cache").has_video
    assert "decoded clips are not kept" in caplog.text


def test_a_changed_file_is_decoded_anew(utterance: Utterance, tmp_path: Path):
    old = load_clip(utterance, cache=tmp_path / "cache")
    other = write_corpus(tmp_path / "other", num_videos=2, seconds=1.2)[1]
    other.replace(utterance.path)

    new = load_clip(utterance, cache=tmp_path / "cache")

    assert len(new.frames) != len(old.frames)


def test_a_broken_file_is_named(utterance: Utterance, tmp_path: Path):
    broken = replace(utterance, path=tmp_path / "broken.mp4")
    broken.path.write_bytes(b"no video at all" * 100)

    with pytest.raises(ValueError, match=r"broken\.mp4 cannot be decoded"):
        load_clip(broken, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npz"))


def test_default_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", f"{os.sep}somewhere")
    assert default_cache() == Path("/somewhere/mmeg/clips")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_cache() == Path("/home/somebody/.cache/mmeg/clips")
