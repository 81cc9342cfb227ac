"""What a slice consists of, as the first step of its pipeline: in the graph, or, if that is much, in a file beside the
tables, since the graph of a job has room for some ten thousand videos (Dataflow takes 10 MB).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.media.source import ParquetRow, VideoRef
from pipelines.done_videos import DoneVideos, Retake
from pipelines.index_shards import Shard
from pipelines.output_folder import OutputFolder, output_folder

MOST_IN_GRAPH: Final = 5_000
"""A megabyte of references."""
_FOLDER: Final = "slices"
_ROWS_AT_ONCE: Final = 1_000
_SCHEMA: Final = pa.schema(
    [
        ("location", pa.binary()),  # bytes, for a name of a file may be no text
        ("version", pa.string()),
        ("member", pa.string()),
        ("start_byte", pa.int64()),
        ("num_bytes", pa.int64()),
        ("is_compressed", pa.bool_()),
        ("row_group", pa.int64()),  # null, if it is no row of a Parquet shard
        ("row_in_group", pa.int64()),
        ("column", pa.string()),
        ("status", pa.string()),
        ("has_row", pa.bool_()),
        ("done_names", pa.binary()),  # null, if it is no shard
        ("done_versions", pa.binary()),
        ("done_statuses", pa.binary()),
        ("retake_failed", pa.bool_()),
        ("retake_changed", pa.bool_()),
    ]
)


class SliceList(beam.PTransform):
    """A pipeline -> the videos, or the shards, of its slice."""

    def __init__(self, elements: Sequence[Any], *, output: str, name: str) -> None:
        """Keep what is to be listed.

        Args:
            elements: VideoRefs, or Shards.
            output: the folder of the tables.
            name: of a list, different for each within a run.
        """
        super().__init__()
        self._elements = elements
        self._output = output
        self._name = f"{_FOLDER}/{name}.parquet"

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[Any]:
        if sum(map(_num_references, self._elements)) <= MOST_IN_GRAPH:
            return pipeline | "List" >> beam.Create(self._elements)
        write_list(output_folder(self._output), self._name, self._elements)
        output, name = self._output, self._name
        return (
            pipeline
            | "Name of the list" >> beam.Create([name])
            | "Read the list" >> beam.FlatMap(lambda name: read_list(output_folder(output), name))
            | "Spread the list" >> beam.Reshuffle()
        )


def _num_references(element: VideoRef | Shard) -> int:
    """How much room it takes, in references; what is done of a shard's members takes some, too."""
    return 1 + len(element.done) if isinstance(element, Shard) else 1


def write_list(output: OutputFolder, name: str, elements: Sequence[VideoRef | Shard]) -> None:
    """Write elements to a file, which appears whole."""
    with output.writing([name]) as (file,), pq.ParquetWriter(file, _SCHEMA) as writer:
        for start in range(0, len(elements), _ROWS_AT_ONCE):
            rows = [_row(element) for element in elements[start : start + _ROWS_AT_ONCE]]
            writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))


def read_list(output: OutputFolder, name: str) -> Iterator[VideoRef | Shard]:
    """The elements that `write_list` wrote."""
    with output.open(name) as file, pq.ParquetFile(file) as listed:
        for batch in listed.iter_batches(batch_size=_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                yield _element(row)


def remove_lists(output: OutputFolder, *, slice_index: int | None = None) -> None:
    """Remove the lists of a slice that is over, or of all, whatever became of them; the caller holds the lock."""
    ending = "" if slice_index is None else f"-{slice_index:06d}.parquet"
    for name in output.files(_FOLDER):
        if name.endswith(ending):
            output.remove(name)


def _row(element: VideoRef | Shard) -> dict[str, object]:
    video = element.video if isinstance(element, Shard) else element
    row: dict[str, object] = {
        "location": video.location.encode("utf-8", "surrogateescape"),
        "version": video.version,
        "member": video.member,
        "start_byte": video.start_byte,
        "num_bytes": video.num_bytes,
        "is_compressed": video.is_compressed,
    }
    if video.parquet_row is not None:
        row |= asdict(video.parquet_row)
    if isinstance(element, Shard):
        done = element.done
        row |= {
            "status": element.status,
            "has_row": element.has_row,
            "done_names": done.names.tobytes(),
            "done_versions": done.versions.tobytes(),
            "done_statuses": done.statuses.tobytes(),
            "retake_failed": done.retake.failed,
            "retake_changed": done.retake.changed,
        }
    return row


def _element(row: dict[str, Any]) -> VideoRef | Shard:
    video = VideoRef(
        row["location"].decode("utf-8", "surrogateescape"),
        row["version"],
        row["member"],
        row["start_byte"],
        row["num_bytes"],
        row["is_compressed"],
        None
        if row["row_group"] is None
        else ParquetRow(row["row_group"], row["row_in_group"], row["column"]),
    )
    if row["done_names"] is None:
        return video
    done = DoneVideos(
        np.frombuffer(row["done_names"], "S16"),
        np.frombuffer(row["done_versions"], "S16"),
        np.frombuffer(row["done_statuses"], np.uint8),
        Retake(failed=row["retake_failed"], changed=row["retake_changed"]),
    )
    return Shard(video, row["status"], row["has_row"], done)
