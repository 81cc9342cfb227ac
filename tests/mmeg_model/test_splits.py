from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmeg_model.corpora.utterance import Utterance
from mmeg_model.splits import (
    LeakError,
    SpeakerLeakingSplit,
    Split,
    leave_sessions_out,
    leave_speakers_out,
    paper_random,
    session_folds,
    speaker_folds,
    splits_by_name,
)


def utterance(
    speaker: str,
    number: int,
    *,
    corpus: str = "c",
    gender: str | None = "female",
    session: str | None = None,
) -> Utterance:
    name = f"{corpus}/{speaker}-{number}"
    return Utterance(Path(name), corpus, name, speaker, "neutral", gender, session)


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


@pytest.mark.parametrize("seed", range(5))
def test_an_utterance_without_a_gender_does_not_hide_the_speakers(seed: int):
    """Four women and four men in four folds: one of each in each."""
    utterances = [
        utterance(f"{gender}-{speaker}", number, gender=gender if number == 0 or speaker % 2 else None)
        for gender in ("female", "male")
        for speaker in range(4)
        for number in range(2)
    ]
    for fold in speaker_folds(utterances, 4, seed=seed):
        assert {u.speaker.split("-")[0] for u in fold.test} == {"female", "male"}


def test_folds_depend_on_the_seed_alone():
    utterances = [utterance(f"s{s}", 0) for s in range(12)]
    assert speaker_folds(utterances, 3, seed=1) == speaker_folds(utterances, 3, seed=1)
    assert speaker_folds(utterances, 3, seed=1) != speaker_folds(utterances, 3, seed=2)


@pytest.mark.parametrize("num_folds", [1, 4])
def test_too_many_or_too_few_folds(num_folds: int):
    with pytest.raises(ValueError, match=rf"num_folds = {num_folds} must be in \[2, 3\]"):
        speaker_folds(THREE, num_folds, seed=0)


def test_a_message_stays_short_where_thousands_leak():
    faces = tuple(utterance(f"face-{n:05d}", 0) for n in range(20_000))
    with pytest.raises(LeakError, match="20000 speakers are in training and in test: face-00000") as error:
        Split(train=faces, test=faces)
    assert str(error.value).endswith("face-00009 and 19990 more. Put each on one side.")


def test_folds_of_the_seed_are_these():
    """They name the people whom published figures were found on: a change of the rule must not go unnoticed."""
    utterances = [
        utterance(f"{gender[0]}{n}", 0, gender=gender) for gender in ("female", "male") for n in range(4)
    ]
    tested = [sorted(u.speaker for u in fold.test) for fold in speaker_folds(utterances, 2, seed=0)]
    assert tested == [["f0", "f1", "m0", "m3"], ["f2", "f3", "m1", "m2"]]


SESSIONS = [utterance(f"{n}{who}", k, session=f"s{n}") for n in range(1, 4) for who in "FM" for k in range(2)]


def test_leave_sessions_out():
    split = leave_sessions_out(SESSIONS, {"s2"})
    assert {u.speaker for u in split.test} == {"2F", "2M"}
    assert {u.speaker for u in split.train} == {"1F", "1M", "3F", "3M"}


def test_one_session_after_the_other():
    folds = session_folds(SESSIONS)
    assert [{u.session for u in fold.test} for fold in folds] == [{"s1"}, {"s2"}, {"s3"}]
    assert all(sorted(fold.train + fold.test) == sorted(SESSIONS) for fold in folds)


def test_somebody_in_two_sessions_is_refused():
    guest = utterance("1F", 9, session="s3")
    with pytest.raises(LeakError, match="1 speakers are in training and in test: 1F"):
        session_folds([*SESSIONS, guest])


def test_sessions_that_are_not_known():
    with pytest.raises(ValueError, match="of 1 utterances no session is known, the first is c/x-0"):
        leave_sessions_out([*SESSIONS, utterance("x", 0)], {"s1"})
    with pytest.raises(ValueError, match="no utterance of s7: there is nothing to leave out"):
        leave_sessions_out(SESSIONS, {"s7"})
    with pytest.raises(ValueError, match="there must be at least two sessions, there are 1"):
        session_folds(SESSIONS[:4])


@given(num_utterances=st.integers(5, 200), seed=st.integers(0, 9))
def test_paper_random_has_exact_shares_and_no_overlap(num_utterances: int, seed: int):
    utterances = [utterance(f"s{n % 3}", n) for n in range(num_utterances)]

    split = paper_random(utterances, seed=seed)

    sides = (split.train, split.validation, split.test)
    assert sorted(u for side in sides for u in side) == sorted(utterances)
    for side, share in zip(sides, (0.6, 0.2, 0.2), strict=True):
        assert abs(len(side) - share * num_utterances) <= 1


def test_paper_random_shares_people_but_no_recordings():
    """Each recording under two names, as of a clip and its soundtrack: both are on the same side."""
    twins = [
        Utterance(Path(f"{corpus}/{n}"), corpus, f"r/{n}", "one", None, None)
        for n in range(50)
        for corpus in ("clips", "sounds")
    ]
    split = paper_random(twins, seed=0)
    assert [len(side) for side in (split.train, split.validation, split.test)] == [60, 20, 20]
    assert split != paper_random(twins, seed=1)
    assert {u.recording for u in split.train} == {
        u.recording for u in paper_random(twins[::-1], seed=0).train
    }
    assert not isinstance(split, Split)


def test_paper_random_of_too_few():
    with pytest.raises(ValueError, match="2 recordings are too few for three sets"):
        paper_random(THREE[:2], seed=0)


def test_a_recording_in_two_of_three_sets_is_refused():
    a, b, c, *_ = THREE
    with pytest.raises(LeakError, match="1 recordings are in validation and in test: c/b-0"):
        SpeakerLeakingSplit(train=(a, b), validation=(c,), test=(c,))
    with pytest.raises(LeakError, match="1 recordings are in training and in test: c/a-0"):
        SpeakerLeakingSplit(train=(a, b), validation=(c,), test=(a,))


def test_by_name():
    assert splits_by_name("leave-speakers-out", THREE, seed=0, speakers={"b"}) == [
        leave_speakers_out(THREE, {"b"})
    ]
    assert splits_by_name("leave-one-session-out", SESSIONS, seed=0) == session_folds(SESSIONS)
    assert splits_by_name("speaker-folds", THREE, seed=3, num_folds=3) == speaker_folds(THREE, 3, seed=3)
    assert splits_by_name("paper-random", SESSIONS, seed=5) == [paper_random(SESSIONS, seed=5)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leave-speaker-out", "unknown split 'leave-speaker-out': did you mean 'leave-speakers-out'"),
        ("leave-speakers-out", "leave-speakers-out needs speakers to leave out"),
        ("speaker-folds", "speaker-folds needs num_folds"),
    ],
)
def test_by_a_name_that_does_not_fit(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        splits_by_name(name, THREE, seed=0)


@pytest.mark.parametrize("name", ["leave-speakers-out", "leave-one-session-out", "paper-random"])
def test_folds_are_of_speaker_folds(name: str):
    with pytest.raises(ValueError, match=f"{name} takes no num_folds, got 3: that is of speaker-folds"):
        splits_by_name(name, SESSIONS, seed=0, num_folds=3, speakers=("a",))


@pytest.mark.parametrize("name", ["leave-one-session-out", "speaker-folds", "paper-random"])
def test_speakers_are_of_leave_speakers_out(name: str):
    num_folds = 3 if name == "speaker-folds" else None
    with pytest.raises(ValueError, match=f"{name} takes no speakers, got a, b: they are of leave-speakers"):
        splits_by_name(name, SESSIONS, seed=0, num_folds=num_folds, speakers=("b", "a"))
