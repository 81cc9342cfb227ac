"""What an output folder already holds."""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmeg_model.media.source import VideoRef, printable
from pipelines.outcomes import RunConstants
from pipelines.publish import OWN_FILES, TEMPORARY_PREFIX
from pipelines.tables import SCHEMA_VERSION, TABLES, Status, Table


class RefusedError(Exception):
    """The run cannot start into this folder; nothing was touched."""


@dataclass(frozen=True)
class Completed:
    """The videos that an output folder holds, by a 16-byte key without version."""

    by_name: dict[bytes, tuple[bytes, Status]]
    """Of each (uri, member): the key of the version that was done, and its outcome."""

    def status(self, video: VideoRef) -> Status | None:
        """The outcome of this video, in whatever version; None if it has none yet."""
        done = self.by_name.get(video.name_key)
        return done and done[1]

    def is_other_version(self, video: VideoRef) -> bool:
        """Whether it is another version of this video that is done."""
        done = self.by_name.get(video.name_key)
        return done is not None and done[0] != video.key


def check_writable(output: Path) -> None:
    """Make the folders of the three tables, and see that files can be written there.

    Raises:
        OSError: if they cannot.
    """
    for table in TABLES:
        (output / table).mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=output / table):
            pass


def _own_files(output: Path, table: Table) -> Iterator[Path]:
    """The files of a table that mmeg made, published or not.

    Raises:
        OSError: if a folder cannot be listed: not to see a file is not to say that it is not there.
    """
    try:
        runs = sorted(os.listdir(output / table))
    except FileNotFoundError:
        return
    for run in runs:
        if run.startswith("run="):
            for name in sorted(os.listdir(output / table / run)):
                if OWN_FILES.fullmatch(name):
                    yield output / table / run / name


def remove_orphans(output: Path) -> int:
    """Remove what runs that died left behind: temporary files, and files of slices whose `videos` is not there.

    The caller holds the lock. Gives back how many files were removed.

    Raises:
        OSError: if a folder cannot be listed or a file not removed.
    """
    committed = {
        path.relative_to(output / "videos")
        for path in _own_files(output, "videos")
        if not path.name.startswith(TEMPORARY_PREFIX)
    }
    orphans = [
        path
        for table in TABLES
        for path in _own_files(output, table)
        if path.relative_to(output / table) not in committed
    ]
    for path in orphans:
        path.unlink()
    return len(orphans)


def read_completed(output: Path, constants: RunConstants) -> Completed:
    """Read which videos an output folder holds.

    Raises:
        RefusedError: if they were annotated by another model or with other settings, with the difference; or if
            what is there cannot be read.
    """
    try:
        return _read_completed(output, constants)
    except OSError as error:
        raise RefusedError(f"{printable(str(output))} cannot be read: {error}") from error


def _read_completed(output: Path, constants: RunConstants) -> Completed:
    by_name: dict[bytes, tuple[bytes, Status]] = {}
    columns = ["video_uri", "video_version", "member", "status", "model_name", "model_sha256"]
    for path in _own_files(output, "videos"):
        if path.name.startswith(TEMPORARY_PREFIX):
            continue
        try:
            file = pq.ParquetFile(path)
            _refuse_other_settings(path, file.schema_arrow.metadata or {}, constants)
            rows = file.read(columns=columns).to_pylist()
        except (pa.ArrowException, KeyError) as error:
            raise RefusedError(
                f"{printable(str(path))} is damaged ({error}); remove it and the files of the same name beside it, "
                "and its videos are annotated again"
            ) from error
        for row in rows:
            if row["model_sha256"] != constants.model_sha256:
                raise RefusedError(
                    f"{printable(str(output))} holds results of the model {row['model_name']} "
                    f"({row['model_sha256'][:12]}…), and this run would use {constants.model_name} "
                    f"({constants.model_sha256[:12]}…); name another --output"
                )
            video = VideoRef(row["video_uri"], row["video_version"], row["member"])
            by_name[video.name_key] = (video.key, row["status"])
    return Completed(by_name)


def _refuse_other_settings(path: Path, metadata: dict[bytes, bytes], constants: RunConstants) -> None:
    if metadata.get(b"schema_version") != str(SCHEMA_VERSION).encode():
        raise RefusedError(
            f"{printable(str(path))} was not written by this version of mmeg; name another --output"
        )
    theirs: dict[str, Any] = json.loads(metadata[b"settings"])
    ours: dict[str, Any] = json.loads(constants.settings_json)
    differences = [
        f"{name}: {theirs.get(name)} there, {ours.get(name)} now"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    ]
    if differences:
        raise RefusedError(
            f"{printable(str(path.parents[2]))} holds results of other settings ({'; '.join(differences)}); "
            "name another --output, or the same settings"
        )
