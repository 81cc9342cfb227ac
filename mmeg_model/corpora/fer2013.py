"""FER2013 (Goodfellow et al. 2013, doi 10.1007/978-3-642-42051-1_16): faces, 48×48 and grey, labelled with an emotion.

Read from Parquet files of the columns `name`, `emotion` (one of the four by its name here) and `image_jpeg`, or else
from the publisher's `fer2013.csv` (`emotion,pixels,Usage`). Nobody knows who is on a picture: each counts as a
person of its own, so the same person may be on both sides of a split by speakers.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.corpora.picture_table import JPEG_COLUMN
from mmeg_model.corpora.utterance import Corpus, CorpusReading, TablePicture, Utterance
from mmeg_model.labels import EMOTIONS

CSV_NAME: Final = "fer2013.csv"

_EMOTIONS_BY_NUMBER: Final = {"0": "anger", "3": "happiness", "4": "sadness", "6": "neutral"}

_Row = tuple[Path, int, str, str]
"""File, row, the picture's name, its emotion or the number of one that is none of the four."""


def read_pictures(folder: Path) -> CorpusReading:
    """Read the labels of all pictures; disgust, fear and surprise are left out.

    Raises:
        ValueError: if there is neither a Parquet file nor `fer2013.csv`, one lacks a column or cannot be read, or no
            picture counts.
    """
    tables = sorted(folder.glob("*.parquet"))
    rows = (
        (row for table in tables for row in _parquet_rows(table)) if tables else _csv_rows(folder / CSV_NAME)
    )
    utterances: list[Utterance] = []
    excluded = Counter[str]()
    for path, row, name, emotion in rows:
        if emotion not in EMOTIONS:
            excluded[f"emotion {emotion} outside the four"] += 1
            continue
        utterances.append(
            Utterance(
                path=path,
                corpus="fer2013-faces",
                recording=f"fer2013/{name}",
                speaker=f"fer2013-{name}",
                emotion=emotion,
                perceived_gender=None,
                part=TablePicture(row),
            )
        )
    if not utterances:
        raise ValueError(f"no example of this corpus in {folder}: left out were {dict(excluded)}")
    return CorpusReading(tuple(utterances), dict(excluded))


def _parquet_rows(path: Path) -> Iterator[_Row]:
    try:
        names = pq.read_schema(path).names
        if missing := [name for name in ("name", "emotion", JPEG_COLUMN) if name not in names]:
            raise ValueError(f"{path} has no column {' and no column '.join(missing)}")
        columns = pq.read_table(path, columns=["name", "emotion"]).to_pydict()
    except pa.ArrowException as error:
        raise ValueError(f"{path} is no Parquet file that can be read: {error}") from error
    for row, (name, emotion) in enumerate(zip(columns["name"], columns["emotion"], strict=True)):
        yield path, row, name, emotion


def _csv_rows(path: Path) -> Iterator[_Row]:
    if not path.is_file():
        raise ValueError(f"no example of this corpus in {path.parent}: neither *.parquet nor {path.name}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.reader(lines)
            header = next(rows, [])
            if header[:2] != ["emotion", "pixels"]:
                raise ValueError(
                    f"{path}, line 1: the columns must be emotion,pixels,Usage, are {','.join(header)}"
                )
            for row, values in enumerate(rows):
                number = values[0] if values else ""
                yield path, row, f"row-{row}", _EMOTIONS_BY_NUMBER.get(number, number)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV in UTF-8: {error}") from error


PICTURES: Final = Corpus(
    title="FER2013, pictures of faces (Goodfellow et al. 2013)",
    read=read_pictures,
    language="none",
    terms="data of a public contest, pictures found on the web",
    stills=True,
)
