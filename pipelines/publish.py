"""What became of the videos -> Parquet, each video once."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.media.source import VideoRef
from pipelines.outcomes import Outcome, RunConstants, outcome_rows, run_columns, video_columns
from pipelines.tables import CLIPS, SCHEMAS, TABLES, Table, VideoPart, decode_annotations

ROWS_PER_GROUP: Final = 65_536
TEMPORARY_PREFIX: Final = "."
TEMPORARY_SUFFIX: Final = ".tmp"
"""A leading dot and not `.parquet`: DuckDB's globs read dot-files too."""
OWN_FILES: Final = re.compile(r"\.?slice-\d{6}-batch-shard-\d{5}-of-\d{5}\.parquet(\.tmp)?")
"""The names that are made here, and no others: what else lies beside them belongs to somebody else."""


def file_stem(*, slice_index: int, shard: int, num_shards: int) -> str:
    """The name of the three files of a shard, without folder and ending."""
    return f"slice-{slice_index:06d}-batch-shard-{shard:05d}-of-{num_shards:05d}"


def shard_of(part: VideoPart, *, num_shards: int) -> int:
    """The shard whose files hold this video's rows."""
    return int.from_bytes(part.video.key[:8]) % num_shards if part.video else 0


@contextlib.contextmanager
def _table_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("wb") as file,
        pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            use_dictionary=[f.name for f in schema if pa.types.is_string(f.type)],
        ) as writer,
    ):
        yield writer
        writer.close()
        file.flush()
        os.fsync(file.fileno())  # a name may not outlive a power cut without its content


def publish(parts: Iterable[VideoPart], *, output: Path, file_name: str, constants: RunConstants) -> None:
    """Write the three files of one shard, all of them or, seen from a query, none.

    Holds one row group and, for each video, sums. Annotations appear first and `videos` last, by renaming; the
    same names again overwrite what an earlier try left.
    """
    schemas = {
        table: SCHEMAS[table].with_metadata({**SCHEMAS[table].metadata, "settings": constants.settings_json})
        for table in TABLES
    }
    finals = {table: output / table / f"run={constants.run_id}" / f"{file_name}.parquet" for table in TABLES}
    temporaries: dict[Table, Path] = {
        table: path.with_name(f"{TEMPORARY_PREFIX}{path.name}{TEMPORARY_SUFFIX}")
        for table, path in finals.items()
    }
    now = datetime.now(UTC)
    try:
        with contextlib.ExitStack() as stack:
            writers = {
                table: stack.enter_context(_table_writer(temporaries[table], schemas[table]))
                for table in TABLES
            }
            sums = _write_annotations(parts, writers["annotations"], schemas["annotations"], constants, now)
            videos, errors = outcome_rows(sums, constants, now)
            writers["errors"].write_table(pa.Table.from_pylist(errors, schema=schemas["errors"]))
            writers["videos"].write_table(pa.Table.from_pylist(videos, schema=schemas["videos"]))
        for table in TABLES:
            os.replace(temporaries[table], finals[table])
    except BaseException:
        for path in temporaries.values():
            path.unlink(missing_ok=True)
        raise


def _write_annotations(
    parts: Iterable[VideoPart],
    writer: pq.ParquetWriter,
    schema: pa.Schema,
    constants: RunConstants,
    now: datetime,
) -> dict[VideoRef | None, Outcome]:
    sums: dict[VideoRef | None, Outcome] = {}
    pending: list[pa.Table] = []
    num_pending = 0

    def flush() -> None:
        nonlocal num_pending
        if pending:
            table = pa.concat_tables(pending).combine_chunks()
            writer.write_table(table.sort_by([("video_uri", "ascending"), ("clip_index", "ascending")]))
        pending.clear()
        num_pending = 0

    for part in parts:
        video_sums = sums.setdefault(part.video, Outcome())
        video_sums.add(part)
        if not part.annotations:
            continue
        rows = decode_annotations(part.annotations)
        video_sums.add_rows(rows)
        constant = {**video_columns(part.video), **run_columns(constants, now)}
        pending.append(_with_constants(rows, constant, schema))
        num_pending += rows.num_rows
        if num_pending >= ROWS_PER_GROUP:
            flush()
    flush()
    return sums


def _with_constants(rows: pa.Table, constant: dict[str, object], schema: pa.Schema) -> pa.Table:
    columns = [
        rows[name]
        if name in CLIPS.names
        else pa.repeat(pa.scalar(constant[name], schema.field(name).type), len(rows))
        for name in schema.names
    ]
    return pa.table(columns, schema=schema)


class PublishShards(beam.PTransform):
    """VideoParts -> three Parquet files for each shard, empty ones too."""

    def __init__(self, *, output: str, slice_index: int, num_shards: int, constants: RunConstants) -> None:
        super().__init__()
        self._output = output
        self._slice_index = slice_index
        self._num_shards = num_shards
        self._constants = constants

    def _write(self, shard: tuple[int, Iterable[VideoPart | None]]) -> None:
        index, parts = shard
        name = file_stem(slice_index=self._slice_index, shard=index, num_shards=self._num_shards)
        publish(
            (part for part in parts if part is not None),
            output=Path(self._output),
            file_name=name,
            constants=self._constants,
        )

    def expand(self, parts: beam.PCollection[VideoPart]) -> beam.PCollection[None]:
        num_shards = self._num_shards
        keyed = parts | "Key by shard" >> beam.Map(lambda part: (shard_of(part, num_shards=num_shards), part))
        # A shard without videos writes its empty files too: a query on a table that is not there is an error.
        every_shard = parts.pipeline | "Every shard" >> beam.Create([(i, None) for i in range(num_shards)])
        return (
            (keyed, every_shard)
            | "With every shard" >> beam.Flatten()
            | "Group by shard" >> beam.GroupByKey()
            | "Write" >> beam.Map(self._write)
        )
