"""One labelled recording, and how a corpus is read off its file names."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmeg_model.labels import LABELS_BY_TASK

SOUND_SUFFIXES: Final = frozenset({".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac"})
PICTURE_SUFFIXES: Final = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})


@dataclass(frozen=True, order=True)
class Utterance:
    """A file with one person in it who says one thing, and what is known of it.

    Raises:
        ValueError: if a label is in no vocabulary.
    """

    path: Path
    corpus: str
    recording: str
    """The same for everything made of one recording, such as a clip and its soundtrack in another corpus."""
    speaker: str
    """The same for one person in all corpora."""
    emotion: str | None
    """One of `EMOTIONS`; None if it is not labelled."""
    perceived_gender: str | None
    """One of `GENDERS`; None if it is not labelled."""

    def __post_init__(self) -> None:
        for task, label in self.labels.items():
            if label is not None and label not in LABELS_BY_TASK[task]:
                raise ValueError(
                    f"{task} of {self.path} is {label!r}, must be one of {LABELS_BY_TASK[task]} or None"
                )

    @property
    def labels(self) -> dict[str, str | None]:
        """The label of each task, in the order of `LABELS_BY_TASK`."""
        return {"emotion": self.emotion, "gender": self.perceived_gender}


@dataclass(frozen=True)
class CorpusReading:
    """What was found of a corpus, and how many files were left out for which reason."""

    utterances: tuple[Utterance, ...]
    excluded: Mapping[str, int]


@dataclass(frozen=True)
class Corpus:
    """A corpus known here: how it is read, and what a card must say of it."""

    title: str
    read: Callable[[Path], CorpusReading]
    """Reads the corpus' own folder.

    Raises:
        ValueError: if there is no example of it.
    """
    language: str
    terms: str
    """Of use, as its publisher states them."""
    weights_license: str | None = None
    """The licence, by Hugging Face's short name, that weights trained on it must carry; None: none is asked."""


class ExcludedError(Exception):
    """Why a file of a corpus is no example here, such as an emotion outside the four."""


def read_by_name(
    folder: Path,
    suffixes: Collection[str],
    pattern: re.Pattern[str],
    utterance: Callable[[Path, re.Match[str]], Utterance],
) -> CorpusReading:
    """Read a corpus whose labels stand in its file names.

    Args:
        folder: searched recursively for files with one of the suffixes, hidden ones left out.
        suffixes: of the files to be read, lower case, with the dot.
        pattern: must match the whole name without its suffix; a file that it does not is left out.
        utterance: makes the record; raises `ExcludedError` with the reason if the file is to be left out.

    Raises:
        ValueError: if there is no such file in the folder, or none is an example.
    """
    utterances, excluded = [], Counter[str]()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        match = pattern.fullmatch(path.stem)
        try:
            if match is None:
                raise ExcludedError("name not of this corpus")
            utterances.append(utterance(path, match))
        except ExcludedError as reason:
            excluded[str(reason)] += 1
    if not utterances:
        raise ValueError(f"no example of this corpus in {folder}: left out were {dict(excluded)}")
    return CorpusReading(tuple(utterances), dict(excluded))


def emotion_by_code(codes: Mapping[str, str], code: str) -> str:
    """The emotion that a corpus' code stands for.

    Raises:
        ExcludedError: if it is none of the four.
    """
    if code not in codes:
        raise ExcludedError(f"emotion {code} outside the four")
    return codes[code]
