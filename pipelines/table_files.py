"""The files of the three tables: their names, which of them are ours, and how one is written."""

import contextlib
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.output_folder import OutputFolder
from pipelines.tables import Table

REWRITTEN: Final = ".rewritten"
"""Ends the name of a file that waits for `videos` of the same stem to be replaced, and then replaces its own."""
PANE: Final = b"pane"
"""In the metadata of the three files of a window: a word that no other pane has."""
_OWN_NAME: Final = re.compile(
    r"\.?(slice-\d{6}-(?:batch|window-\d{8}T\d{6}Z)-shard-\d{5}-of-\d{5})\.parquet((?:\.rewritten)?(?:\.tmp)?)",
    re.ASCII,
)
_BLOOM_FILTER: Final = {"video_uri": {"ndv": 2_048, "fpp": 0.01}}
"""Rows of a shard lie in no order of their videos, so that the least and the greatest name of a row group say little:
a filter of 4 KB tells a query for one video which groups it can pass over."""


def file_name(*, slice_index: int, shard: int, num_shards: int) -> str:
    """The name of the three files of a shard, without folder and ending."""
    return f"slice-{slice_index:06d}-batch-shard-{shard:05d}-of-{num_shards:05d}"


def pane_name(*, window_start: int, shard: int, num_shards: int) -> str:
    """The name of the three files of a window and shard of a stream, without folder and ending.

    Args:
        window_start: in seconds since 1970.
        shard: from 0.
        num_shards: of each window.
    """
    start = f"{datetime.fromtimestamp(window_start, UTC):%Y%m%dT%H%M%SZ}"
    return f"slice-000000-window-{start}-shard-{shard:05d}-of-{num_shards:05d}"


def is_pane(stem: str) -> bool:
    """Whether it is that of a window."""
    return "-window-" in stem.rpartition("/")[2]


def new_run_id(*, after: str) -> str:
    """A name that sorts behind that of the run before, by time where the clocks agree: the newest run holds."""
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"
    return now if now > after else f"{after}~"


def table_file(table: Table, stem: str) -> str:
    """The name of the published file of a table; stem is `run=…/` and the file's name."""
    return f"{table}/{stem}.parquet"


def own_files(output: OutputFolder, table: Table, ending: str = "") -> dict[str, int]:
    """The stems of a table's files with our names, published ones or those that wait under an ending; and their bytes.

    In the order of their runs. What else lies beside them belongs to somebody else.

    Raises:
        OSError: if they cannot be listed.
    """
    stems: dict[str, int] = {}
    for path, num_bytes in output.files(table).items():
        _, run, name = path.split("/")
        own = _OWN_NAME.fullmatch(name)
        if own and own[2] == ending and name.startswith(".") == bool(ending):
            stems[f"{run}/{own[1]}"] = num_bytes
    return stems


@contextlib.contextmanager
def table_writers(
    output: OutputFolder, files: Mapping[str, pa.Schema]
) -> Iterator[dict[str, pq.ParquetWriter]]:
    """Write Parquet files, by their names, that appear in this order when the block ends; none, if it raises."""
    with output.writing(list(files)) as opened, contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                pq.ParquetWriter(
                    file,
                    schema,
                    compression="zstd",
                    use_dictionary=[f.name for f in schema if pa.types.is_string(f.type)],
                    bloom_filter_options=_BLOOM_FILTER,
                )
            )
            for file, (name, schema) in zip(opened, files.items(), strict=True)
        }
