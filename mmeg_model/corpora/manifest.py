"""One's own corpus: a folder with a `manifest.csv` or `manifest.parquet` of a row for each example.

Columns: `path` (of a video or sound file, from the folder on), `speaker`, `emotion`, `perceived_gender`; and if there
is something to say, `recording`, `session`, `start_seconds`, `end_seconds`. A cell that is empty says that it is not
known; path and speaker must be there. Speakers, recordings and sessions are taken as they are named: the same name in
another corpus means the same person.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.corpora.utterance import CorpusReading, Excerpt, Utterance
from mmeg_model.labels import EMOTIONS, GENDERS
from mmeg_model.nearest import unknown

NAMES: Final = ("manifest.csv", "manifest.parquet")

_REQUIRED: Final = ("path", "speaker", "emotion", "perceived_gender")
_OPTIONAL: Final = ("recording", "session", "start_seconds", "end_seconds")


def manifest_in(folder: Path) -> Path | None:
    """The manifest of a folder; None if there is none.

    Raises:
        ValueError: if there are two.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{folder} has both {' and '.join(NAMES)}: keep one")
    return found[0] if found else None


def read_manifest(file: Path, *, corpus: str) -> CorpusReading:
    """Read a manifest; rows with a label outside the vocabularies are left out.

    Raises:
        ValueError: naming file and line, if a column is missing, unknown or there twice, a file is not there, a time is none or
            does not fit, or path or speaker is empty; or if no row is an example.
    """
    utterances: list[Utterance] = []
    excluded = Counter[str]()
    for place, row in _csv_rows(file) if file.suffix == ".csv" else _parquet_rows(file):
        emotion, gender = row["emotion"] or None, row["perceived_gender"] or None
        if emotion is not None and emotion not in EMOTIONS:
            excluded[f"emotion {emotion} outside the four"] += 1
        elif gender is not None and gender not in GENDERS:
            excluded[f"perceived gender {gender} outside the two"] += 1
        else:
            utterances.append(_utterance(file, place, row, corpus, emotion, gender))
    if not utterances:
        raise ValueError(f"no example in {file}: left out were {dict(excluded)}")
    return CorpusReading(tuple(utterances), dict(excluded))


def _utterance(
    file: Path, place: str, row: Mapping[str, str], corpus: str, emotion: str | None, gender: str | None
) -> Utterance:
    for name in ("path", "speaker"):
        if not row[name]:
            raise ValueError(f"{place}: {name} is empty")
    path = file.parent / row["path"]
    if not path.is_file():
        raise ValueError(f"{place}: there is no file {path}")
    start_ms, end_ms = (_ms(place, name, row.get(name, "")) for name in ("start_seconds", "end_seconds"))
    part = None
    if start_ms is not None or end_ms is not None:
        try:
            part = Excerpt(start_ms or 0, end_ms)
        except ValueError as error:
            raise ValueError(f"{place}: the time range must not be empty, and begin at 0 or later") from error
    return Utterance(
        path=path,
        corpus=corpus,
        # However its path is spelt, and from whichever corpus, a file is one recording.
        recording=row.get("recording") or os.path.normpath(Path(corpus, os.path.relpath(path, file.parent))),
        speaker=row["speaker"],
        emotion=emotion,
        perceived_gender=gender,
        session=row.get("session") or None,
        part=part,
    )


def _ms(place: str, name: str, text: str) -> int | None:
    if not text:
        return None
    try:
        return round(1000 * float(text))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{place}: {name} {text!r} is no number of seconds") from error


def _csv_rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines, restkey="", strict=True)
            _check_columns(f"{file}, line 1", rows.fieldnames or ())
            for row in rows:
                place = f"{file}, line {rows.line_num}"
                if "" in row or None in row.values():
                    raise ValueError(f"{place}: there must be as many cells as columns")
                yield place, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is no CSV in UTF-8: {error}") from error


def _parquet_rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        _check_columns(str(file), pq.read_schema(file).names)
        table = pq.read_table(file)
    except pa.ArrowException as error:
        raise ValueError(f"{file} is no Parquet file that can be read: {error}") from error
    for number, row in enumerate(table.to_pylist(), start=1):
        yield f"{file}, row {number}", {name: "" if v is None else str(v) for name, v in row.items()}


def _check_columns(place: str, columns: Sequence[str]) -> None:
    for name in columns:
        if columns.count(name) > 1:
            raise ValueError(f"{place}: there are {columns.count(name)} columns {name}: keep one")
        if name not in (*_REQUIRED, *_OPTIONAL):
            raise ValueError(f"{place}: {unknown('column', name, (*_REQUIRED, *_OPTIONAL))}")
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise ValueError(f"{place}: there is no column {' and no column '.join(missing)}")
