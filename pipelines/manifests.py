"""Lists of inputs: text, CSV, JSONL and Parquet, local or in a bucket, read as a stream."""

import csv
import io
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.media.errors import MediaError
from mmeg_model.media.objects import FoundObject, open_file
from mmeg_model.media.source import printable

_NAMES_AT_A_TIME: Final = 10_000


def is_manifest_name(name: str) -> bool:
    """Whether a file that is named itself is a manifest, by its extension."""
    return name.lower().endswith(tuple(_READERS))


def manifest_names(manifest: str | FoundObject) -> Generator[str, None, None]:
    """Yield the names in a manifest as they stand there; blank ones are skipped.

    Args:
        manifest: the path of a local file, or an object.

    Raises:
        ValueError: if it cannot be read or is damaged; says in which line.
    """
    location = manifest.uri if isinstance(manifest, FoundObject) else manifest
    extension = next(extension for extension in _READERS if location.lower().endswith(extension))
    try:
        with _opened(manifest) as file:
            for where, name in _READERS[extension](file):
                if "\0" in name:
                    raise _DamagedError(f"{where} is no UTF-8 text; save it as UTF-8")
                if name.strip():
                    yield name
    except _DamagedError as error:
        raise ValueError(f"the manifest {printable(location)} is damaged: {error}") from error
    except MediaError as error:
        raise ValueError(f"the manifest could not be read: {error.message}") from error
    except OSError as error:
        raise ValueError(f"the manifest {printable(location)} could not be read: {error}") from error


class _DamagedError(Exception):
    """Says where and how."""


def _opened(manifest: str | FoundObject) -> AbstractContextManager[BinaryIO]:
    return open_file(manifest) if isinstance(manifest, FoundObject) else Path(manifest).open("rb")


def _text(file: BinaryIO) -> io.TextIOWrapper:
    # File names are bytes: what is no UTF-8 in a manifest still names its file.
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _in_text(file: BinaryIO) -> Iterator[tuple[str, str]]:
    with _text(file) as lines:
        for number, line in enumerate(lines, start=1):
            yield f"line {number}", line.rstrip("\r\n")


def _in_csv(file: BinaryIO) -> Iterator[tuple[str, str]]:
    with _text(file) as lines:
        rows = csv.DictReader(lines)
        try:
            if "uri" not in (rows.fieldnames or ()):
                raise _no_column(rows.fieldnames or ())
            for row in rows:
                yield f"line {rows.line_num}", row["uri"] or ""
        except csv.Error as error:
            raise _DamagedError(f"line {rows.line_num} is no CSV: {error}") from error


def _in_jsonl(file: BinaryIO) -> Iterator[tuple[str, str]]:
    for where, line in _in_text(file):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _DamagedError(f"{where} is no JSON: {error}") from error
        name = value.get("uri") if isinstance(value, dict) else value
        if not isinstance(name, str):
            raise _DamagedError(f"{where} is neither a string nor an object with a string `uri`")
        yield where, name


def _in_parquet(file: BinaryIO) -> Iterator[tuple[str, str]]:
    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            if "uri" not in schema.names:
                raise _no_column(schema.names)
            if not _is_text(schema.field("uri").type):
                raise _DamagedError(f"its column `uri` holds {schema.field('uri').type}, not strings")
            number = 0
            for batch in table.iter_batches(_NAMES_AT_A_TIME, columns=["uri"], use_threads=False):
                for name in batch.column("uri").to_pylist():
                    number += 1
                    yield f"row {number}", name or ""
    except (pa.ArrowException, OSError) as error:
        raise _DamagedError(f"it is no Parquet file that can be read: {error}") from error


def _is_text(type_: pa.DataType) -> bool:
    inner = type_.value_type if pa.types.is_dictionary(type_) else type_
    return pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)


def _no_column(names: object) -> _DamagedError:
    columns = printable(", ".join(map(str, names)))  # type: ignore[call-overload]
    return _DamagedError(
        f"it has no column `uri`, only {columns or 'nothing'}; call the column of the videos `uri`"
    )


_READERS: Final[dict[str, Callable[[BinaryIO], Iterator[tuple[str, str]]]]] = {
    ".txt": _in_text,
    ".csv": _in_csv,
    ".jsonl": _in_jsonl,
    ".parquet": _in_parquet,
}
