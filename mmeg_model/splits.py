"""Training on one side, testing on the other, and nobody on both."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mmeg_model.corpora.utterance import Utterance


class LeakError(ValueError):
    """A split with the same person or recording on both sides."""


@dataclass(frozen=True)
class Split:
    """Two sets of examples without a person or a recording in common.

    Raises:
        LeakError: if there is one; the message names all of them.
    """

    train: tuple[Utterance, ...]
    test: tuple[Utterance, ...]

    def __post_init__(self) -> None:
        for kind in ("speaker", "recording"):
            train, test = ({getattr(u, kind) for u in side} for side in (self.train, self.test))
            if both := sorted(train & test):
                raise LeakError(
                    f"{len(both)} {kind}s are in training and in test: {', '.join(both)}. Put each on one side."
                )


def leave_speakers_out(utterances: Sequence[Utterance], speakers: Collection[str]) -> Split:
    """Test on the given speakers, train on all others.

    Raises:
        ValueError: if a speaker has no utterance.
    """
    if strangers := sorted(set(speakers) - {u.speaker for u in utterances}):
        raise ValueError(f"no utterance of {', '.join(strangers)}: there is nothing to leave out")
    return Split(
        train=tuple(u for u in utterances if u.speaker not in speakers),
        test=tuple(u for u in utterances if u.speaker in speakers),
    )


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
        genders[u.speaker] = u.perceived_gender or ""
    random.Random(seed).shuffle(speakers)  # noqa: S311
    speakers.sort(key=lambda speaker: (sorted(corpora[speaker]), genders[speaker]))
    return [leave_speakers_out(utterances, set(speakers[fold::num_folds])) for fold in range(num_folds)]
