"""Training on one side, testing on the other, and nobody on both."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mmeg_model.corpora.utterance import Utterance
from mmeg_model.nearest import unknown

SPLITS: Final = ("leave-speakers-out", "leave-one-session-out", "speaker-folds", "paper-random")

_MOST_NAMED: Final = 10
_TRAIN_SHARE: Final = 0.6  # of Chae et al. 2018; what is left is halved
_VALIDATION_SHARE: Final = 0.2


class LeakError(ValueError):
    """A split with the same person or recording on both sides."""


@dataclass(frozen=True)
class Split:
    """Two sets of examples without a person or a recording in common.

    Raises:
        LeakError: if there is one; the message names the first ten.
    """

    train: tuple[Utterance, ...]
    test: tuple[Utterance, ...]

    def __post_init__(self) -> None:
        for kind in ("speaker", "recording"):
            _refuse_shared(kind, ("training", self.train), ("test", self.test))

    @property
    def held_out(self) -> tuple[Utterance, ...]:
        """What a training is validated on."""
        return self.test


@dataclass(frozen=True)
class SpeakerLeakingSplit:
    """Three sets without a recording in common, but with the same people in all of them.

    What is found on its test side does not hold for people who were not trained on: it is here to compare with
    published figures alone, and cannot be given where a `Split` is asked for.

    Raises:
        LeakError: if a recording is in two of them; the message names the first ten.
    """

    train: tuple[Utterance, ...]
    validation: tuple[Utterance, ...]
    test: tuple[Utterance, ...]

    def __post_init__(self) -> None:
        train, validation, test = (
            ("training", self.train),
            ("validation", self.validation),
            ("test", self.test),
        )
        for one, other in ((train, validation), (train, test), (validation, test)):
            _refuse_shared("recording", one, other)

    @property
    def held_out(self) -> tuple[Utterance, ...]:
        """What a training is validated on."""
        return self.validation


def _refuse_shared(
    kind: Literal["speaker", "recording"],
    one: tuple[str, Sequence[Utterance]],
    other: tuple[str, Sequence[Utterance]],
) -> None:
    of_one, of_other = ({getattr(u, kind) for u in utterances} for _, utterances in (one, other))
    if both := sorted(of_one & of_other):
        raise LeakError(
            f"{len(both)} {kind}s are in {one[0]} and in {other[0]}: {_listed(both)}. Put each on one side."
        )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def leave_speakers_out(utterances: Sequence[Utterance], speakers: Collection[str]) -> Split:
    """Test on the given speakers, train on all others.

    Raises:
        ValueError: if a speaker has no utterance.
    """
    return _leave_out("speaker", utterances, set(speakers))


def leave_sessions_out(utterances: Sequence[Utterance], sessions: Collection[str]) -> Split:
    """Test on the given sessions, train on all others.

    Raises:
        LeakError: if somebody is in a given session and in another one.
        ValueError: if a session has no utterance, or an utterance no session.
    """
    if without := [u.place for u in utterances if u.session is None]:
        raise ValueError(f"of {len(without)} utterances no session is known, the first is {without[0]}")
    return _leave_out("session", utterances, set(sessions))


def _leave_out(kind: Literal["speaker", "session"], utterances: Sequence[Utterance], out: set[str]) -> Split:
    if strangers := sorted(out - {getattr(u, kind) for u in utterances}):
        raise ValueError(f"no utterance of {_listed(strangers)}: there is nothing to leave out")
    return Split(
        train=tuple(u for u in utterances if getattr(u, kind) not in out),
        test=tuple(u for u in utterances if getattr(u, kind) in out),
    )


def session_folds(utterances: Sequence[Utterance]) -> list[Split]:
    """Leave one session out after the other, in the order of their names.

    Raises:
        LeakError: if somebody is in several sessions.
        ValueError: if there are fewer than two sessions, or an utterance has none.
    """
    sessions = sorted({u.session for u in utterances if u.session is not None})
    folds = [leave_sessions_out(utterances, {session}) for session in sessions]
    if len(folds) < 2:
        raise ValueError(f"there must be at least two sessions, there are {len(folds)}")
    return folds


def speaker_folds(utterances: Sequence[Utterance], num_folds: int, *, seed: int) -> list[Split]:
    """Cut into folds so that each speaker is tested exactly once.

    Speakers are dealt out in turn, those of the same corpora and perceived gender after each other, so that
    folds are as alike as can be.

    Raises:
        ValueError: if there are fewer speakers than folds, or fewer than two folds.
    """
    speakers = sorted({u.speaker for u in utterances})
    if not 2 <= num_folds <= len(speakers):
        raise ValueError(f"{num_folds = } must be in [2, {len(speakers)}], the number of speakers")
    corpora: dict[str, set[str]] = {speaker: set() for speaker in speakers}
    genders: dict[str, str] = {}
    for u in utterances:
        corpora[u.speaker].add(u.corpus)
        genders[u.speaker] = u.perceived_gender or genders.get(u.speaker, "")
    random.Random(seed).shuffle(speakers)  # noqa: S311
    speakers.sort(key=lambda speaker: (sorted(corpora[speaker]), genders[speaker]))
    return [leave_speakers_out(utterances, set(speakers[fold::num_folds])) for fold in range(num_folds)]


def paper_random(utterances: Sequence[Utterance], *, seed: int) -> SpeakerLeakingSplit:
    """60 % for training, 20 % for validation, 20 % for test, by chance, as Chae et al. 2018 meant to.

    Theirs overlapped; here no recording is in two sets. What is made of one recording stays together, so shares
    are exact where each utterance is a recording of its own.

    Raises:
        ValueError: if there are too few recordings for three sets.
    """
    by_recording: dict[str, list[Utterance]] = {}
    for u in utterances:
        by_recording.setdefault(u.recording, []).append(u)
    recordings = sorted(by_recording)
    random.Random(seed).shuffle(recordings)  # noqa: S311
    train_end = _TRAIN_SHARE * len(utterances)
    validation_end = (_TRAIN_SHARE + _VALIDATION_SHARE) * len(utterances)
    sides: tuple[list[Utterance], ...] = ([], [], [])
    num_before = 0
    for recording in recordings:
        middle = num_before + len(by_recording[recording]) / 2
        sides[(middle > train_end) + (middle > validation_end)].extend(by_recording[recording])
        num_before += len(by_recording[recording])
    if not all(sides):
        raise ValueError(f"{len(recordings)} recordings are too few for three sets")
    return SpeakerLeakingSplit(*map(tuple, sides))


def splits_by_name(
    name: str,
    utterances: Sequence[Utterance],
    *,
    seed: int,
    num_folds: int | None = None,
    speakers: Collection[str] = (),
) -> Sequence[Split] | Sequence[SpeakerLeakingSplit]:
    """The split or the folds that a configuration names.

    Args:
        name: one of `SPLITS`.
        utterances: of all sides.
        seed: of `speaker-folds` and `paper-random`; another gives another split.
        num_folds: of `speaker-folds`, which needs it.
        speakers: tested by `leave-speakers-out`, which needs some.

    Raises:
        LeakError: if somebody, or a recording, would be on two sides.
        ValueError: if the name is unknown (the message says which are near), or what it needs is not given, or
            what is given it has no use for.
    """
    if name not in SPLITS:
        raise ValueError(unknown("split", name, SPLITS))
    if num_folds is not None and name != "speaker-folds":
        raise ValueError(f"{name} takes no num_folds, got {num_folds}: that is of speaker-folds")
    if speakers and name != "leave-speakers-out":
        raise ValueError(
            f"{name} takes no speakers, got {_listed(sorted(speakers))}: they are of leave-speakers-out"
        )
    if name == "leave-speakers-out" and speakers:
        return [leave_speakers_out(utterances, speakers)]
    if name == "leave-one-session-out":
        return session_folds(utterances)
    if name == "speaker-folds" and num_folds is not None:
        return speaker_folds(utterances, num_folds, seed=seed)
    if name == "paper-random":
        return [paper_random(utterances, seed=seed)]
    raise ValueError(f"{name} needs {'num_folds' if name == 'speaker-folds' else 'speakers to leave out'}")
