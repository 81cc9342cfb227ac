"""Taking rows out of published files, so that whoever looks, and whatever dies on the way, finds each video once.

Newer rows are published first. Then each older file is written anew without the superseded ones: `errors` and
`annotations` under other names, then `videos` in place of the older one, which is what counts, and then they are put
in place too. All three name their rewrite, so that every start knows of what waits whether its `videos` is there, and
ends, or undoes, what an interrupted one left.
"""

import secrets
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmeg_model.media.source import VideoRef
from pipelines.completed import Superseded
from pipelines.damaged import naming_damaged
from pipelines.output_folder import TEMPORARY, OutputFolder, beside
from pipelines.table_files import REWRITTEN, own_files, table_file, table_writers
from pipelines.tables import Table

_BESIDE_VIDEOS: Final[tuple[Table, ...]] = ("errors", "annotations")
_REWRITE: Final = b"rewrite"
"""In the metadata of a file that was written anew: which of all rewrites it was."""

_Names = set[tuple[str | None, ...]]


def finish_rewrites(output: OutputFolder) -> None:
    """End, or undo, each rewrite that was interrupted; the caller holds the lock.

    Raises:
        OSError: if a folder cannot be listed, or a file not replaced.
    """
    for table in _BESIDE_VIDEOS:
        for stem in own_files(output, table, REWRITTEN):
            final = table_file(table, stem)
            waiting = beside(final, REWRITTEN)
            if _rewrite_of(output, waiting) == _rewrite_of(output, table_file("videos", stem)):
                output.move(waiting, final)
            else:
                output.remove(waiting)  # its `videos` was not replaced yet: the older files hold


def _rewrite_of(output: OutputFolder, name: str) -> bytes | None:
    try:
        with output.open(name) as file, naming_damaged(f"{output.uri}/{name}"):
            return (pq.read_schema(file).metadata or {}).get(_REWRITE, b"none")
    except FileNotFoundError:  # somebody has removed it by hand
        return None


def remove_orphans(output: OutputFolder, merged_stems: Iterable[str] = ()) -> int:
    """Remove what runs that died left behind, behind `finish_rewrites`; the caller holds the lock.

    That is temporary files, files of slices whose `videos` is not there, and files whose rows another one took over.
    Gives back how many files were removed.

    Raises:
        OSError: if a folder cannot be listed or a file not removed.
    """
    merged = set(merged_stems)
    committed = set(own_files(output, "videos"))
    num_removed = 0
    for table in ("videos", *_BESIDE_VIDEOS):  # without its `videos` a file counts no more
        names = [
            table_file(table, stem)
            for stem in own_files(output, table)
            if stem not in committed or stem in merged
        ]
        for ending in (TEMPORARY, REWRITTEN + TEMPORARY):
            names += [beside(table_file(table, stem), ending) for stem in own_files(output, table, ending)]
        for name in names:
            output.remove(name)
        num_removed += len(names)
    return num_removed


def remove_superseded(output: OutputFolder, superseded: Superseded) -> None:
    """Write each file anew without the rows of some videos; the caller holds the lock.

    Memory holds a row group. A stem of which nothing is left is removed.

    Args:
        output: the folder of the tables.
        superseded: by stem, the keys of the videos.

    Raises:
        OSError: if a file cannot be read, written or replaced.
    """
    for stem, keys in superseded.items():
        try:
            names = _names(output, table_file("videos", stem), keys)
        except FileNotFoundError:
            continue
        _rewrite(output, stem, names)


def _rewrite(output: OutputFolder, stem: str, names: _Names) -> None:
    if not any(_has_others(output, table_file(table, stem), names) for table in ("videos", "errors")):
        for table in ("videos", *_BESIDE_VIDEOS):
            output.remove(table_file(table, stem))
        return
    rewrite = secrets.token_bytes(8)
    for table in _BESIDE_VIDEOS:
        final = table_file(table, stem)
        _copy_without(output, final, beside(final, REWRITTEN), names, rewrite)
    videos = table_file("videos", stem)
    _copy_without(output, videos, videos, names, rewrite)
    for table in _BESIDE_VIDEOS:
        final = table_file(table, stem)
        output.move(beside(final, REWRITTEN), final)


def _names(output: OutputFolder, videos: str, keys: set[bytes]) -> _Names:
    """The columns that name the videos with these keys."""
    with output.open(videos) as file:
        rows = pq.read_table(file, columns=["video_uri", "video_version", "member"])
    return {
        (row["video_uri"], row["video_version"], row["member"])
        for row in rows.to_pylist()
        if VideoRef(row["video_uri"], row["video_version"], row["member"]).key in keys
    }


def _has_others(output: OutputFolder, name: str, names: _Names) -> bool:
    uri = f"{output.uri}/{name}"
    with output.open(name) as opened:
        return any(len(rows) for rows in _without(_parquet(opened, uri), names, uri))


def _copy_without(output: OutputFolder, name: str, target: str, names: _Names, rewrite: bytes) -> None:
    uri = f"{output.uri}/{name}"
    with output.open(name) as opened:
        file = _parquet(opened, uri)
        metadata = {**file.schema_arrow.metadata, _REWRITE: rewrite}
        with table_writers(output, {target: file.schema_arrow.with_metadata(metadata)}) as writers:
            for rows in _without(file, names, uri):
                if len(rows):
                    writers[target].write_table(rows.replace_schema_metadata(metadata))


def _parquet(opened: BinaryIO, uri: str) -> pq.ParquetFile:
    with naming_damaged(uri):
        return pq.ParquetFile(opened)


def _without(file: pq.ParquetFile, names: _Names, uri: str) -> Iterator[pa.Table]:
    """The rows of all videos but the named ones, row group by row group."""
    uris = pa.array({uri for uri, *_ in names}, pa.string())
    for group in range(file.num_row_groups):
        with naming_damaged(uri):
            rows = file.read_row_group(group)
        is_kept = np.ones(len(rows), bool)
        # Few rows are of these files, and whether of these versions and members, is told one by one.
        for row in np.flatnonzero(pc.is_in(rows["video_uri"], value_set=uris).to_numpy()):
            name = tuple(rows[c][row].as_py() for c in ("video_uri", "video_version", "member"))
            is_kept[row] = name not in names
        yield rows.filter(pa.array(is_kept))
