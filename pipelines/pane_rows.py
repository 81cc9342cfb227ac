"""What stands in the files of one window and shard of a stream, video by video."""

import contextlib
from collections.abc import Iterator, Set
from typing import BinaryIO, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.media.source import VideoRef
from pipelines.damaged import naming_damaged
from pipelines.metrics import Published
from pipelines.output_folder import OutputFolder
from pipelines.table_files import table_file
from pipelines.tables import Table

Name: TypeAlias = tuple[str | None, str | None, str | None]
"""A video: its uri, version and member. A failure of no video: None, its message, None."""

_COLUMNS: Final = ["video_uri", "video_version", "member"]


def name_of(video: VideoRef) -> Name:
    """What a video is called in the columns of its rows."""
    return video.uri, video.version, video.member


def nameless(message: str | None) -> Name:
    """A failure of no video."""
    return None, message, None


def standing(output: OutputFolder, stem: str) -> tuple[frozenset[Name], Published]:
    """What the files of a stem hold: videos, and failures of no video; nothing if its `videos` is not there.

    Raises:
        OSError: if they cannot be read, or `errors` alone is not there.
    """
    published = Published()
    try:
        with _opened(output, "videos", stem) as file:
            videos = pq.read_table(file, columns=[*_COLUMNS, "status", "clips", "failed_clips"])
    except FileNotFoundError:
        return frozenset(), published
    with _opened(output, "errors", stem) as file:
        errors = pq.read_table(file, columns=[*_COLUMNS, "message", "stage"])
    published.add(videos.to_pylist(), errors.to_pylist())
    names = {*_names(videos), *(name for name in _names(errors) if name[0] is None)}
    return frozenset(names), published


def rows_of(output: OutputFolder, table: Table, stem: str, names: Set[Name]) -> Iterator[pa.Table]:
    """Those rows of a table's file that are of these videos, row group by row group; a file without any is not read.

    Raises:
        OSError: if it cannot be read.
    """
    if not names:
        return
    with _opened(output, table, stem) as opened, pq.ParquetFile(opened) as file:
        for rows in map(file.read_row_group, range(file.num_row_groups)):
            kept = rows.filter(pa.array(np.array([name in names for name in _names(rows)], bool)))
            if len(kept):
                yield kept


@contextlib.contextmanager
def _opened(output: OutputFolder, table: Table, stem: str) -> Iterator[BinaryIO]:
    name = table_file(table, stem)
    with output.open(name) as file, naming_damaged(f"{output.uri}/{name}"):
        yield file


def _names(rows: pa.Table) -> list[Name]:
    messages = rows["message"].to_pylist() if "message" in rows.column_names else [None] * len(rows)
    named = zip(*(rows[column].to_pylist() for column in _COLUMNS), messages, strict=True)
    return [
        nameless(message) if uri is None else (uri, version, member)
        for uri, version, member, message in named
    ]
