"""Many small files of a table -> few of about 128 MB: `mmeg compact`."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.locked import InUseError
from pipelines.completed import MERGED, RefusedError, newest_run, read_completed
from pipelines.damaged import naming_damaged
from pipelines.ending import ALL_OK, COULD_NOT_START, ENDED_EARLY, interruptible
from pipelines.output_folder import OutputFolder, output_folder
from pipelines.publish import ROWS_PER_GROUP
from pipelines.rewriting import finish_rewrites, remove_orphans, remove_superseded
from pipelines.table_files import file_name, new_run_id, own_files, table_file, table_writers
from pipelines.tables import TABLES
from pipelines.torn_panes import mend_panes

TARGET_BYTES: Final = 128_000_000
_ORDER: Final = ("video_uri", "member", "clip_index", "start_seconds")


def compact_command(arguments: Sequence[str]) -> int:
    """Run `mmeg compact` and give back its exit status."""
    parser = argparse.ArgumentParser(
        prog="mmeg compact",
        description="Merge the small files of the tables into files of about 128 MB, and drop older versions of "
        "videos that were annotated again. Rows stay as they are, with the run that wrote them in run_id.",
    )
    parser.add_argument("output", metavar="DIR", help="the folder of the three tables, or gs://bucket/prefix")
    given = parser.parse_args(arguments).output
    try:
        output = output_folder(given)
        if not output.files("videos"):
            return _could_not_start(f"{output.uri} holds no tables: there is no folder `videos` in it")
    except (ValueError, OSError) as error:
        return _could_not_start(str(error))
    try:
        with (
            output.locked(by="mmeg compact"),
            interruptible(
                "nothing is lost; run it again to go on, since until then a query may find rows twice"
            ),
        ):
            num_before, num_after = compact(output)
    except (RefusedError, InUseError) as error:
        return _could_not_start(str(error))
    except (OSError, pa.ArrowException) as error:
        print(f"mmeg compact ended early: {error}", file=sys.stderr)
        print(
            "Nothing is lost. Run the same command again: until then a query may find rows twice.",
            file=sys.stderr,
        )
        return ENDED_EARLY
    print(f"{num_before} files of each table before, {num_after} now", file=sys.stderr)
    return ALL_OK


def _could_not_start(reason: str) -> int:
    print(f"mmeg compact: {reason}", file=sys.stderr)
    return COULD_NOT_START


def compact(output: OutputFolder, *, target_bytes: int = TARGET_BYTES) -> tuple[int, int]:
    """Merge neighbouring files up to target_bytes; the caller holds the lock.

    Killed anywhere, it leaves each video once: the merged file counts from its `videos` on, and names those whose
    rows it took over, which count no more. Gives back the number of files of each table before and after.

    Raises:
        RefusedError: if what is there cannot be read.
        OSError: if a file cannot be written or removed.
    """
    completed = read_completed(output, keep_versions=False)
    finish_rewrites(output)
    mend_panes(output)
    remove_orphans(output, completed.merged_stems)
    remove_superseded(output, completed.superseded)
    stems = list(own_files(output, "videos"))
    run_id = new_run_id(after=newest_run(output))
    groups = [group for group in _neighbours(output, stems, target_bytes) if len(group) > 1]
    for index, group in enumerate(groups):
        merged = f"run={run_id}/{file_name(slice_index=index, shard=0, num_shards=1)}"
        _merge(output, group, merged)
        remove_orphans(output, group)
    return len(stems), len(stems) - sum(len(group) - 1 for group in groups)


def _neighbours(output: OutputFolder, stems: Iterable[str], target_bytes: int) -> Iterator[list[str]]:
    """Files of the same settings, together up to target_bytes, or one alone."""
    sizes = [own_files(output, table) for table in TABLES]
    group: list[str] = []
    num_bytes, settings = 0, b""
    for stem in stems:
        of_stem = sum(of_table[stem] for of_table in sizes)
        theirs = _schema(output, table_file("videos", stem)).metadata[b"settings"]
        if group and (num_bytes + of_stem > target_bytes or theirs != settings):
            yield group
            group, num_bytes = [], 0
        group.append(stem)
        num_bytes, settings = num_bytes + of_stem, theirs
    if group:
        yield group


def _schema(output: OutputFolder, name: str) -> pa.Schema:
    with output.open(name) as file, naming_damaged(f"{output.uri}/{name}"):
        return pq.read_schema(file)


def _merge(output: OutputFolder, stems: Sequence[str], merged: str) -> None:
    schemas = {}
    for table in TABLES:
        schema = _schema(output, table_file(table, stems[0]))
        metadata = {name: value for name, value in schema.metadata.items() if name != MERGED}
        if table == "videos":
            metadata[MERGED] = json.dumps(stems).encode()
        schemas[table_file(table, merged)] = schema.with_metadata(metadata)
    with table_writers(output, schemas) as writers:
        for table in TABLES:
            name = table_file(table, merged)
            order = [(column, "ascending") for column in _ORDER if column in schemas[name].names]
            for rows in _row_groups(output, [table_file(table, stem) for stem in stems]):
                rows = rows.replace_schema_metadata(schemas[name].metadata)
                writers[name].write_table(rows.sort_by(order))


def _row_groups(output: OutputFolder, names: Iterable[str]) -> Iterator[pa.Table]:
    """The rows of all files, small row groups together."""
    pending: list[pa.Table] = []
    for name in names:
        uri = f"{output.uri}/{name}"
        with output.open(name) as opened, naming_damaged(uri), pq.ParquetFile(opened) as file:
            for group in range(file.num_row_groups):
                pending.append(file.read_row_group(group))
                if sum(map(len, pending)) >= ROWS_PER_GROUP:
                    yield pa.concat_tables(pending)
                    pending = []
    if pending:
        yield pa.concat_tables(pending)
