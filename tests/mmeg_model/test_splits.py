from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmeg_model.corpora.utterance import Utterance
from mmeg_model.splits import LeakError, Split, leave_speakers_out, speaker_folds


def utterance(speaker: str, number: int, *, corpus: str = "c", gender: str | None = "female") -> Utterance:
    name = f"{corpus}/{speaker}-{number}"
    return Utterance(Path(name), corpus, name, speaker, "neutral", gender)


THREE = [utterance(speaker, number) for speaker in "abc" for number in range(2)]


def test_leave_speakers_out():
    split = leave_speakers_out(THREE, {"b"})

    assert [u.speaker for u in split.train] == ["a", "a", "c", "c"]
    assert [u.speaker for u in split.test] == ["b", "b"]


def test_leave_out_a_stranger():
    with pytest.raises(ValueError, match="no utterance of x, y"):
        leave_speakers_out(THREE, {"b", "y", "x"})


def test_a_speaker_on_both_sides_is_refused():
    with pytest.raises(LeakError, match="2 speakers are in training and in test: a, b"):
        Split(train=(THREE[0], THREE[2], THREE[4]), test=(THREE[1], THREE[3]))


def test_a_recording_on_both_sides_is_refused():
    """As when two corpora hold the same recording under speakers of two names."""
    clip = Utterance(Path("a.mp4"), "clips", "r/1", "actor-1", None, None)
    sound = Utterance(Path("a.wav"), "sounds", "r/1", "voice-9", None, None)
    with pytest.raises(LeakError, match="1 recordings are in training and in test: r/1"):
        Split(train=(clip,), test=(sound,))


@given(num_speakers=st.integers(2, 30), seed=st.integers(0, 99), data=st.data())
def test_each_speaker_is_tested_once(num_speakers: int, seed: int, data: st.DataObject):
    num_folds = data.draw(st.integers(2, num_speakers))
    utterances = [utterance(f"s{s:02d}", n) for s in range(num_speakers) for n in range(1 + s % 3)]

    folds = speaker_folds(utterances, num_folds, seed=seed)

    assert len(folds) == num_folds
    assert sorted(u for fold in folds for u in fold.test) == sorted(utterances)
    assert all(sorted(fold.train + fold.test) == sorted(utterances) for fold in folds)


def test_folds_have_like_speakers():
    """Four women and four men of each of two corpora, four folds: each fold tests one of each kind."""
    utterances = [
        utterance(f"{corpus}-{gender}-{n}", 0, corpus=corpus, gender=gender)
        for corpus in ("x", "y")
        for gender in ("female", "male")
        for n in range(4)
    ]
    for fold in speaker_folds(utterances, 4, seed=0):
        assert sorted((u.corpus, u.perceived_gender) for u in fold.test) == [
            ("x", "female"), ("x", "male"), ("y", "female"), ("y", "male"),
        ]  # fmt: skip


def test_folds_depend_on_the_seed_alone():
    utterances = [utterance(f"s{s}", 0) for s in range(12)]
    assert speaker_folds(utterances, 3, seed=1) == speaker_folds(utterances, 3, seed=1)
    assert speaker_folds(utterances, 3, seed=1) != speaker_folds(utterances, 3, seed=2)


@pytest.mark.parametrize("num_folds", [1, 4])
def test_too_many_or_too_few_folds(num_folds: int):
    with pytest.raises(ValueError, match=rf"num_folds = {num_folds} must be in \[2, 3\]"):
        speaker_folds(THREE, num_folds, seed=0)
