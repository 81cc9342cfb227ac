"""What became of the videos -> Parquet, each video once."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.media.source import VideoRef
from pipelines.metrics import Published
from pipelines.outcomes import Outcome, RunConstants, outcome_rows, run_columns, video_columns
from pipelines.output_folder import OutputFolder, output_folder
from pipelines.table_files import file_name, table_file, table_writers
from pipelines.tables import CLIPS, SCHEMAS, TABLES, Table, VideoPart, decode_annotations

ROWS_PER_GROUP: Final = 32_768
VIDEOS_PER_GROUP: Final = 4_096
NOTHING_MORE: Final[Mapping[bytes, bytes]] = MappingProxyType({})
NO_ROWS: Final[Mapping[Table, Iterable[pa.Table]]] = MappingProxyType({})


def shard_of(part: VideoPart, *, num_shards: int) -> int:
    """The shard whose files hold this video's rows."""
    return int.from_bytes(part.video.key[:8]) % num_shards if part.video else 0


def publish(
    parts: Iterable[VideoPart],
    *,
    output: OutputFolder,
    stem: str,
    constants: RunConstants,
    metadata: Mapping[bytes, bytes] = NOTHING_MORE,
    carried: Mapping[Table, Iterable[pa.Table]] = NO_ROWS,
) -> Published:
    """Write the three files of one shard, all of them or, seen from a query, none; give back what is in them.

    Annotations appear first and `videos` last; the same names again overwrite what an earlier try left.

    Args:
        parts: of videos, each of which is all here; memory does not grow with their number, only with that of the
            videos whose parts are not together yet.
        output: the folder of the tables.
        stem: of the files, as of `table_file`.
        constants: what the rows of the run have in common.
        metadata: of the files, beside what it is in all files of the run.
        carried: rows of other videos that go into the files as they are.

    Raises:
        OSError: if a file cannot be written, or another run has taken over from this one.
    """
    schemas = {
        table_file(table, stem): SCHEMAS[table].with_metadata(
            {**SCHEMAS[table].metadata, **constants.file_metadata, **metadata}
        )
        for table in TABLES
    }
    with table_writers(output, schemas) as writers:
        rows = _ShardRows({table: writers[table_file(table, stem)] for table in TABLES}, constants)
        for part in parts:
            rows.add(part)
        rows.finish()
        for table, tables in carried.items():
            for others in tables:
                rows.carry(table, others)
        # The job of a launcher that is dead would publish beside the run that takes its place.
        output.check_not_held_by_others(constants.holder)
        output.check_no_newer_run(constants.run_id)
    return rows.published


class _ShardRows:
    """The rows of a shard on their way into its files: row group by row group."""

    def __init__(self, writers: dict[Table, pq.ParquetWriter], constants: RunConstants) -> None:
        self._writers = writers
        self._constants = constants
        self._now = datetime.now(UTC)
        self.published = Published()
        self._sums: dict[VideoRef | None, Outcome] = {}
        self._complete: dict[VideoRef | None, Outcome] = {}
        self._annotations: list[pa.Table] = []
        self._num_annotations = 0

    def add(self, part: VideoPart) -> None:
        sums = self._sums.setdefault(part.video, Outcome())
        sums.add(part)
        if part.annotations:
            self._add_annotations(part, sums)
        if part.video is not None and sums.is_complete:
            self._complete[part.video] = self._sums.pop(part.video)
            if len(self._complete) >= VIDEOS_PER_GROUP:
                self._write_outcomes()

    def finish(self) -> None:
        self._complete |= self._sums  # whoever is not complete now lost something on the way, which raises
        self._write_outcomes()
        self._write_annotations()

    def carry(self, table: Table, rows: pa.Table) -> None:
        self._writers[table].write_table(rows.cast(self._writers[table].schema))
        if table != "annotations":
            self.published.add(*((rows.to_pylist(), []) if table == "videos" else ([], rows.to_pylist())))

    def _add_annotations(self, part: VideoPart, sums: Outcome) -> None:
        rows = decode_annotations(part.annotations)
        sums.add_rows(rows)
        constant = {**video_columns(part.video), **run_columns(self._constants, self._now)}
        self._annotations.append(_with_constants(rows, constant, SCHEMAS["annotations"]))
        self._num_annotations += rows.num_rows
        if self._num_annotations >= ROWS_PER_GROUP:
            self._write_annotations()

    def _write_annotations(self) -> None:
        if self._annotations:
            table = pa.concat_tables(self._annotations).combine_chunks()
            order = [(name, "ascending") for name in ("video_uri", "member", "clip_index")]
            self._writers["annotations"].write_table(table.sort_by(order))
        self._annotations, self._num_annotations = [], 0

    def _write_outcomes(self) -> None:
        videos, errors = outcome_rows(self._complete, self._constants, self._now)
        self.published.add(videos, errors)
        if videos:
            self._writers["videos"].write_table(pa.Table.from_pylist(videos, schema=SCHEMAS["videos"]))
        if errors:
            self._writers["errors"].write_table(pa.Table.from_pylist(errors, schema=SCHEMAS["errors"]))
        self._complete = {}


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
        name = file_name(slice_index=self._slice_index, shard=index, num_shards=self._num_shards)
        published = publish(
            (part for part in parts if part is not None),
            output=output_folder(self._output),
            stem=f"run={self._constants.run_id}/{name}",
            constants=self._constants,
        )
        published.count()

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
