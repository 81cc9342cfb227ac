"""Taking rows out of published files, so that whoever looks, and whatever dies on the way, finds each video once.

Newer rows are published first. Then each older file is written anew without the superseded ones: all three tables
under other names, then `videos` is replaced, which is what counts, then the others. Every start ends what an
interrupted one left.
"""

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmeg_model.media.source import VideoRef
from pipelines.completed import Superseded
from pipelines.table_files import REWRITTEN, TEMPORARY, beside, own_files, table_file, table_writer
from pipelines.tables import TABLES, Table

_BESIDE_VIDEOS: Final[tuple[Table, ...]] = ("errors", "annotations")


def finish_rewrites(output: Path) -> None:
    """End, or undo, each rewrite that was interrupted; the caller holds the lock.

    Raises:
        OSError: if a folder cannot be listed, or a file not replaced.
    """
    for table in _BESIDE_VIDEOS:
        for stem, waiting in list(own_files(output, table, REWRITTEN)):
            if beside(table_file(output, "videos", stem), TEMPORARY).exists():
                waiting.unlink()  # its `videos` was not replaced yet: the older files hold
            else:
                os.replace(waiting, table_file(output, table, stem))


def remove_orphans(output: Path, merged_stems: Iterable[str] = ()) -> int:
    """Remove what runs that died left behind, behind `finish_rewrites`; the caller holds the lock.

    That is temporary files, files of slices whose `videos` is not there, and files whose rows another one took over.
    Gives back how many files were removed.

    Raises:
        OSError: if a folder cannot be listed or a file not removed.
    """
    merged = set(merged_stems)
    committed = {stem for stem, _ in own_files(output, "videos")}
    num_removed = 0
    for table in ("videos", *_BESIDE_VIDEOS):  # without its `videos` a file counts no more
        published = [
            path for stem, path in own_files(output, table) if stem not in committed or stem in merged
        ]
        for path in chain(published, [path for _, path in own_files(output, table, TEMPORARY)]):
            path.unlink()
            num_removed += 1
    return num_removed


def remove_superseded(output: Path, superseded: Superseded) -> None:
    """Write each file anew without the rows of some videos; the caller holds the lock.

    Memory holds a row group. A stem of which nothing is left is removed.

    Args:
        output: the folder of the tables.
        superseded: by stem, the keys of the videos.

    Raises:
        OSError: if a file cannot be read, written or replaced.
    """
    for stem, keys in superseded.items():
        if table_file(output, "videos", stem).exists():
            _rewrite(output, stem, keys)


def _rewrite(output: Path, stem: str, keys: set[bytes]) -> None:
    finals = {table: table_file(output, table, stem) for table in TABLES}
    temporaries = {table: beside(path, TEMPORARY) for table, path in finals.items()}
    names = _names(finals["videos"], keys)
    try:
        is_empty = not sum(_copy_without(finals[table], temporaries[table], names) for table in TABLES)
    except BaseException:
        for path in temporaries.values():
            path.unlink(missing_ok=True)
        raise
    if is_empty:
        for table in ("videos", *_BESIDE_VIDEOS):
            temporaries[table].unlink()
            finals[table].unlink()
        return
    for table in _BESIDE_VIDEOS:
        os.replace(temporaries[table], beside(finals[table], REWRITTEN))
    os.replace(temporaries["videos"], finals["videos"])
    for table in _BESIDE_VIDEOS:
        os.replace(beside(finals[table], REWRITTEN), finals[table])


def _names(videos: Path, keys: set[bytes]) -> set[tuple[str | None, ...]]:
    """The columns that name the videos with these keys."""
    rows = pq.read_table(videos, columns=["video_uri", "video_version", "member"], partitioning=None)
    return {
        (row["video_uri"], row["video_version"], row["member"])
        for row in rows.to_pylist()
        if VideoRef(row["video_uri"], row["video_version"], row["member"]).key in keys
    }


def _copy_without(source: Path, target: Path, names: set[tuple[str | None, ...]]) -> int:
    """Copy all rows but those of the named videos; give back how many there are."""
    uris = pa.array({uri for uri, *_ in names}, pa.string())
    num_rows = 0
    with pq.ParquetFile(source) as file, table_writer(target, file.schema_arrow) as writer:
        for rows in map(file.read_row_group, range(file.num_row_groups)):
            is_kept = np.ones(len(rows), bool)
            # Few rows are of these files, and whether of these versions and members, is told one by one.
            for row in np.flatnonzero(pc.is_in(rows["video_uri"], value_set=uris).to_numpy()):
                name = tuple(rows[c][row].as_py() for c in ("video_uri", "video_version", "member"))
                is_kept[row] = name not in names
            kept = rows.filter(pa.array(is_kept))
            if len(kept):
                writer.write_table(kept)
                num_rows += len(kept)
    return num_rows
