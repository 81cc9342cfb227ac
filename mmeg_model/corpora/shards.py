"""Decoded clips with their labels in Arrow IPC files that are mapped into memory, never read as a whole.

A folder of shards is a corpus: `shard-00000-of-00002.arrow`, `shard-00001-of-00002.arrow`. Every utterance that was
to be prepared is a row; one that could not be decoded says why instead of holding a clip. Nothing is compressed,
so that one clip is found and copied without touching the others.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmeg_model.clip import FRAME_SIZE, SAMPLES_PER_FRAME, Clip, num_frames_between
from mmeg_model.corpora.utterance import CorpusReading, ShardClip, Utterance
from mmeg_model.media import DECODE_VERSION
from mmeg_model.media.source import local_version, printable
from mmeg_model.whole import written_whole

FORMAT_VERSION: Final = 1
BATCH_BYTES: Final = 16 << 20
"""Of clips in one record batch, unless a single one is larger."""

SHARDS_GLOB: Final = "shard-*.arrow"

_NAME: Final = re.compile(r"shard-(?P<number>\d{5})-of-(?P<total>\d{5})\.arrow")
_IDENTITY: Final = ("corpus", "recording", "speaker", "emotion", "perceived_gender", "session")
_ARRAYS: Final = ("frames", "frames_valid", "samples", "samples_valid")
SCHEMA: Final = pa.schema(
    [
        *((name, pa.string()) for name in _IDENTITY),
        ("source", pa.string()),  # where it was decoded from, for a reader's eyes
        ("has_picture", pa.bool_()),
        ("error", pa.string()),  # why there is no clip; null where there is one
        ("start_ms", pa.int64()),
        ("end_ms", pa.int64()),
        ("frames", pa.large_binary()),  # of a Clip, row by row; null where none is valid
        ("frames_valid", pa.large_binary()),
        ("samples", pa.large_binary()),  # 16 bits, little endian; null where none is valid
        ("samples_valid", pa.large_binary()),
    ]
)


@dataclass(frozen=True)
class NotDecoded:
    """Why there is no clip of an utterance."""

    reason: str


def shard_name(number: int, total: int) -> str:
    """The name of a shard, counted from 0."""
    return f"shard-{number:05d}-of-{total:05d}.arrow"


def write_shard(
    file: Path, examples: Iterable[tuple[Utterance, Clip | NotDecoded]], *, excluded: Mapping[str, int]
) -> None:
    """Write a shard, whole or not at all; holds 16 MB of clips at a time.

    Args:
        file: named by `shard_name`.
        examples: the rows.
        excluded: what was left out of the corpus, as in `CorpusReading`; the same in each shard.

    Raises:
        OSError: if it cannot be written.
    """
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "decode_version": str(DECODE_VERSION),
        "excluded": json.dumps(dict(excluded)),
    }
    schema = SCHEMA.with_metadata(metadata)
    with written_whole(file) as temporary, pa.ipc.new_file(temporary, schema) as writer:
        rows: list[dict[str, object]] = []
        num_bytes = 0
        for utterance, outcome in examples:
            row = _row(utterance, outcome)
            row_bytes = sum(len(row[name] or b"") for name in _ARRAYS)
            if rows and num_bytes + row_bytes > BATCH_BYTES:
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
                rows, num_bytes = [], 0
            rows.append(row)
            num_bytes += row_bytes
        if rows:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))


def _row(utterance: Utterance, outcome: Clip | NotDecoded) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    row |= {name: getattr(utterance, name) for name in _IDENTITY}
    row |= {"source": printable(utterance.place), "has_picture": utterance.has_picture}
    if isinstance(outcome, NotDecoded):
        return row | {"error": outcome.reason}
    row |= {"start_ms": outcome.start_ms, "end_ms": outcome.end_ms}
    for array, valid in (("frames", "frames_valid"), ("samples", "samples_valid")):
        if getattr(outcome, valid).any():
            row |= {name: getattr(outcome, name).tobytes() for name in (array, valid)}
    return row


def shards_of(folder: Path) -> list[Path]:
    """The shards in a folder, in their order.

    Raises:
        ValueError: if some of them are missing, or they are of two preparations.
    """
    names = {path.name: match for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    totals = {int(match["total"]) for match in names.values()}
    if len(totals) > 1:
        raise ValueError(f"{folder} holds shards of {len(totals)} preparations; prepare it anew")
    expected = [shard_name(number, total) for total in totals for number in range(total)]
    if missing := [name for name in expected if name not in names]:
        raise ValueError(
            f"{folder} is not whole: {len(missing)} of {len(expected)} shards are missing, the first is "
            f"{missing[0]}. Run `mmeg prepare` again, it goes on where it ended."
        )
    return [folder / name for name in expected]


def read_shards(folder: Path) -> CorpusReading:
    """Read what is in a folder of shards; no clip is read.

    Raises:
        ValueError: if shards are missing, damaged, or of another version of the decoder, or hold no clip.
    """
    utterances: list[Utterance] = []
    excluded = Counter[str]()
    shards = shards_of(folder)
    for path in shards:
        for row, values in enumerate(_rows(path)):
            if values["error"] is not None:
                excluded["not decoded"] += 1
                continue
            identity = {name: values[name] for name in _IDENTITY}
            utterances.append(Utterance(path=path, **identity, part=ShardClip(row, values["has_picture"])))
    if shards:
        excluded.update(_shard(shards[0]).excluded)
    if not utterances:
        raise ValueError(f"no example in the shards of {folder}: left out were {dict(excluded)}")
    return CorpusReading(tuple(utterances), dict(excluded))


def failures_in(shards: Iterable[Path]) -> list[tuple[str, str]]:
    """The source of each utterance that could not be decoded, and why.

    Raises:
        ValueError: if a shard is damaged, or of another version of the decoder.
    """
    return [
        (values["source"], values["error"])
        for path in shards
        for values in _rows(path)
        if values["error"] is not None
    ]


def read_shard_clip(path: Path, row: int) -> Clip:
    """Copy the clip of a row, counted from 0; other rows are not touched.

    Raises:
        ValueError: if the shard cannot be read, is damaged or of another version of the decoder, or has no clip there.
    """
    shard = _shard(path)
    if not 0 <= row < shard.starts[-1]:
        raise ValueError(f"{path} has {shard.starts[-1]} rows, none with the number {row}")
    number = int(np.searchsorted(shard.starts, row, side="right")) - 1
    values = shard.reader.get_batch(number).slice(row - shard.starts[number], 1)
    if values["error"][0].is_valid:
        raise ValueError(f"{path}, row {row}, holds no clip: {values['error'][0]}")
    try:
        return _clip(values)
    except ValueError as error:
        raise _damaged(path, error) from error


def _clip(values: pa.RecordBatch) -> Clip:
    """The clip of a batch of one row."""
    start_ms, end_ms = values["start_ms"][0].as_py(), values["end_ms"][0].as_py()
    t = num_frames_between(start_ms, end_ms)

    def array(name: str, dtype: type, *shape: int) -> NDArray[Any]:
        buffer = values[name][0].as_buffer()
        return (
            np.zeros(shape, dtype) if buffer is None else np.frombuffer(buffer, dtype).reshape(shape).copy()
        )

    return Clip(
        start_ms,
        end_ms,
        array("frames", np.uint8, t, FRAME_SIZE, FRAME_SIZE, 3),
        array("frames_valid", np.bool_, t),
        array("samples", np.int16, t * SAMPLES_PER_FRAME),
        array("samples_valid", np.bool_, t * SAMPLES_PER_FRAME),
    )


@dataclass(frozen=True)
class _Shard:
    reader: pa.RecordBatchFileReader
    starts: NDArray[np.int64]
    """The first row of each batch, and behind the last one the number of rows."""
    excluded: Mapping[str, int]


def _shard(path: Path) -> _Shard:
    try:
        return _open_shard(path, local_version(path.stat()))
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read ({error}): remove it and run `mmeg prepare` again")


@lru_cache(maxsize=256)
def _open_shard(path: Path, version: str) -> _Shard:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    metadata = reader.schema.metadata or {}
    for name, ours in (("format_version", FORMAT_VERSION), ("decode_version", DECODE_VERSION)):
        theirs = metadata.get(name.encode(), b"none").decode()
        if theirs != str(ours):
            raise ValueError(
                f"{path} was written with {name} {theirs}, and this is {ours}: prepare the corpus again, "
                "into another folder"
            )
    num_rows = [reader.get_batch(number).num_rows for number in range(reader.num_record_batches)]
    return _Shard(reader, np.cumsum([0, *num_rows]), json.loads(metadata[b"excluded"]))


def _rows(path: Path) -> list[dict[str, Any]]:
    """All columns but the clips."""
    reader = _shard(path).reader
    names = [*_IDENTITY, "source", "has_picture", "error"]
    batches = (reader.get_batch(number).select(names) for number in range(reader.num_record_batches))
    try:
        return [row for batch in batches for row in batch.to_pylist()]
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from error
