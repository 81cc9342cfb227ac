"""CREMA-D (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244).

Names are `<actor>_<sentence>_<emotion>_<intensity>`: `1001_DFA_ANG_XX`. The actors' genders stand in the publisher's
`VideoDemographics.csv`; without it they are not labelled. Videos and sounds of one name are one recording.
"""

import csv
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from mmeg_model.corpora.utterance import (
    PICTURE_SUFFIXES,
    SOUND_SUFFIXES,
    Corpus,
    CorpusReading,
    Utterance,
    emotion_by_code,
    read_by_name,
)

DEMOGRAPHICS: Final = "VideoDemographics.csv"

_NAME: Final = re.compile(
    r"(?P<actor>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<intensity>[A-Z]{1,2})"
)
_EMOTIONS: Final = {"NEU": "neutral", "ANG": "anger", "HAP": "happiness", "SAD": "sadness"}


def read_clips(folder: Path) -> CorpusReading:
    """Read the clips (picture and sound); disgust and fear are left out."""
    make = partial(_utterance, "crema-d-av", _perceived_genders(folder))
    return read_by_name(folder, PICTURE_SUFFIXES, _NAME, make)


def read_sounds(folder: Path) -> CorpusReading:
    """Read the sounds; disgust and fear are left out."""
    make = partial(_utterance, "crema-d-speech", _perceived_genders(folder))
    return read_by_name(folder, SOUND_SUFFIXES, _NAME, make)


def _perceived_genders(folder: Path) -> dict[str, str | None]:
    """By the actor's number."""
    file = folder / DEMOGRAPHICS
    if not file.is_file():
        return {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            if missing := {"ActorID", "Sex"}.difference(rows.fieldnames or ()):
                raise ValueError(
                    f"{file}, line 1: there is no column {' and no column '.join(sorted(missing))}"
                )
            return {row["ActorID"]: (row["Sex"] or "").lower() or None for row in rows}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is no CSV in UTF-8: {error}") from error


def _utterance(corpus: str, genders: Mapping[str, str | None], path: Path, match: re.Match[str]) -> Utterance:
    return Utterance(
        path=path,
        corpus=corpus,
        recording=f"crema-d/{path.stem}",
        speaker=f"crema-d-{match['actor']}",
        emotion=emotion_by_code(_EMOTIONS, match["emotion"]),
        perceived_gender=genders.get(match["actor"]),
    )


_TERMS: Final = "Open Database License 1.0"
CLIPS: Final = Corpus(
    title="CREMA-D, clips (picture and sound) (Cao et al. 2014)",
    read=read_clips,
    language="English",
    terms=_TERMS,
)
SOUNDS: Final = Corpus(
    title="CREMA-D, sounds (Cao et al. 2014)", read=read_sounds, language="English", terms=_TERMS
)
