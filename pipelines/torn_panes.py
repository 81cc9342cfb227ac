"""The last files of a stream that was killed while a pane took the place of the one before.

A pane is written over its predecessor table by table, `videos` last. It holds all that its predecessor did, so nothing
is lost between; but annotations and errors may be there whose `videos` never came.
"""

from typing import Final

import pyarrow.parquet as pq

from pipelines.damaged import naming_damaged
from pipelines.output_folder import OutputFolder
from pipelines.pane_rows import rows_of, standing
from pipelines.table_files import PANE, is_pane, own_files, table_file, table_writers
from pipelines.tables import Table

_BESIDE_VIDEOS: Final[tuple[Table, ...]] = ("annotations", "errors")


def pane_of(output: OutputFolder, name: str) -> bytes:
    """Which pane a file holds, as its metadata says; `0` if there is none."""
    try:
        with output.open(name) as file, naming_damaged(f"{output.uri}/{name}"):
            return (pq.read_schema(file).metadata or {}).get(PANE, b"0")
    except FileNotFoundError:
        return b"0"


def mend_panes(output: OutputFolder) -> None:
    """Take out the rows of videos whose `videos` never came: they are not done, and are annotated again.

    Only the newest stream can have left any, since every start mends. The caller holds the lock, and has ended
    interrupted rewrites.

    Raises:
        OSError: if a file cannot be read or replaced.
    """
    stems = [stem for stem in own_files(output, "videos") if is_pane(stem)]
    newest = max((stem.partition("/")[0] for stem in stems), default="")
    for stem in stems:
        if stem.startswith(f"{newest}/"):
            committed = pane_of(output, table_file("videos", stem))
            for table in _BESIDE_VIDEOS:
                if pane_of(output, table_file(table, stem)) != committed:
                    _keep_committed(output, table, stem, committed)


def _keep_committed(output: OutputFolder, table: Table, stem: str, committed: bytes) -> None:
    """Write a file anew with the rows of the videos that are there, and those of no video."""
    name = table_file(table, stem)
    with output.open(name) as file:
        found = pq.read_schema(file)
    schema = found.with_metadata({**found.metadata, PANE: committed})
    with table_writers(output, {name: schema}) as writers:
        names, _ = standing(output, stem)
        for rows in rows_of(output, table, stem, names):
            writers[name].write_table(rows.cast(schema))
