"""The files of the three tables: their names, which of them are ours, and how one is written."""

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.tables import TABLES, Table

TEMPORARY: Final = ".tmp"
"""Ends the name of a file that is being written."""
REWRITTEN: Final = ".rewritten"
"""Ends the name of a file that waits for `videos` of the same stem to be replaced, and then replaces its own."""
_OWN_NAME: Final = re.compile(
    r"\.?(slice-\d{6}-batch-shard-\d{5}-of-\d{5})\.parquet(\.tmp|\.rewritten)?", re.ASCII
)
_BLOOM_FILTER: Final = {"video_uri": {"ndv": 2_048, "fpp": 0.01}}
"""Rows of a shard lie in no order of their videos, so that the least and the greatest name of a row group say little:
a filter of 4 KB tells a query for one video which groups it can pass over."""


def file_name(*, slice_index: int, shard: int, num_shards: int) -> str:
    """The name of the three files of a shard, without folder and ending."""
    return f"slice-{slice_index:06d}-batch-shard-{shard:05d}-of-{num_shards:05d}"


def new_run_id(*, after: str) -> str:
    """A name that sorts behind that of the run before, by time where the clocks agree: the newest run holds."""
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"
    return now if now > after else f"{after}~"


def table_file(output: Path, table: Table, stem: str) -> Path:
    """The published file of a table; stem is `run=…/` and the file's name."""
    return output / table / f"{stem}.parquet"


def beside(path: Path, ending: str) -> Path:
    """The name under which a file waits, and no query sees it: DuckDB's globs read dot-files, if `.parquet` ends them."""
    return path.with_name(f".{path.name}{ending}")


def own_files(output: Path, table: Table, ending: str = "") -> Iterator[tuple[str, Path]]:
    """The stems and paths of a table's files with our names: published ones, or those that wait under an ending.

    In the order of their runs. What else lies beside them belongs to somebody else.

    Raises:
        OSError: if a folder cannot be listed: not to see a file is not to say that it is not there.
    """
    try:
        runs = sorted(os.listdir(output / table))
    except (FileNotFoundError, NotADirectoryError):
        return
    for run in runs:
        if run.startswith("run="):
            for name in sorted(os.listdir(output / table / run)):
                own = _OWN_NAME.fullmatch(name)
                if own and (own[2] or "") == ending and name.startswith(".") == bool(ending):
                    yield f"{run}/{own[1]}", output / table / run / name


def check_writable(output: Path) -> None:
    """Make the folders of the three tables, and see that files can be written there.

    Raises:
        OSError: if they cannot.
    """
    for table in TABLES:
        (output / table).mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=output / table):
            pass


@contextlib.contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Write a file that is on the disk when the block ends; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("wb") as file,
        pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            use_dictionary=[f.name for f in schema if pa.types.is_string(f.type)],
            bloom_filter_options=_BLOOM_FILTER,
        ) as writer,
    ):
        yield writer
        writer.close()
        file.flush()
        os.fsync(file.fileno())  # a name may not outlive a power cut without its content
