"""One labelled example, where it lies, and how a corpus is read off its file names."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.media.crop import Box, Channel

SOUND_SUFFIXES: Final = frozenset({".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac"})
PICTURE_SUFFIXES: Final = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv"})


@dataclass(frozen=True, order=True)
class Excerpt:
    """The time range [start_ms, end_ms) of a file, perhaps of a part of its picture, perhaps with other sound.

    Raises:
        ValueError: if the range is empty or begins before the file.
    """

    start_ms: int = 0
    end_ms: int | None = None
    """None: to the end of the file."""
    box: Box | None = None
    """The part of the picture; None: all of it."""
    channel: Channel | None = None
    """Of the sound that counts; None: all, mixed. A sound with a single channel is taken as it is."""
    sound: Path | None = None
    """The file whose sound counts, cut already: it begins where the excerpt does. None: the same file."""

    def __post_init__(self) -> None:
        if self.start_ms < 0 or (self.end_ms is not None and self.end_ms <= self.start_ms):
            raise ValueError(f"an excerpt needs 0 <= {self.start_ms = } < {self.end_ms = }")


@dataclass(frozen=True, order=True)
class TablePicture:
    """The picture in a row of a table of pictures, counted from 0."""

    row: int


@dataclass(frozen=True, order=True)
class ShardClip:
    """The decoded clip in a row of a shard, counted from 0."""

    row: int
    has_picture: bool
    """Whether the file that it was decoded from has one."""


@dataclass(frozen=True, order=True)
class Utterance:
    """One person who says one thing (or shows a face), where that lies, and what is known of it.

    Raises:
        ValueError: if a label is in no vocabulary.
    """

    path: Path
    """The file that it is, or that holds it."""
    corpus: str
    recording: str
    """The same for everything made of one recording, such as a clip and its soundtrack in another corpus."""
    speaker: str
    """The same for one person in all corpora."""
    emotion: str | None
    """One of `EMOTIONS`; None if it is not labelled."""
    perceived_gender: str | None
    """One of `GENDERS`; None if it is not labelled."""
    session: str | None = None
    """The same for what was recorded on one occasion, with the same people; None if it is not known."""
    part: Excerpt | TablePicture | ShardClip | None = None
    """Of the file; None: all of it."""

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

    @property
    def place(self) -> str:
        """The file and the part of it, for messages."""
        match self.part:
            case Excerpt(start_ms=start_ms, end_ms=end_ms):
                end = "end" if end_ms is None else f"{end_ms / 1000:.3f} s"
                return f"{self.path}, {start_ms / 1000:.3f} s to {end}"
            case TablePicture(row=row) | ShardClip(row=row):
                return f"{self.path}, row {row}"
        return str(self.path)

    @property
    def has_picture(self) -> bool:
        """Whether there is a picture to be expected, beside or without sound."""
        match self.part:
            case TablePicture():
                return True
            case ShardClip(has_picture=has_picture):
                return has_picture
        return self.path.suffix.lower() in PICTURE_SUFFIXES


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
    stills: bool = False
    """Whether its examples are single pictures of people nobody knows, each counted as somebody of its own."""


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
