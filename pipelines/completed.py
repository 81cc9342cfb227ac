"""What an output folder already holds, and the lock that keeps a second run out of it."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from mmeg_model.media.source import VideoRef, printable
from pipelines.outcomes import RunConstants
from pipelines.publish import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from pipelines.tables import SCHEMA_VERSION, TABLES, Status

LOCK_NAME: Final = ".mmeg.lock"


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


@contextlib.contextmanager
def locked(output: Path, *, run_id: str) -> Iterator[None]:
    """Keep other runs out of a local output folder, which is made if need be, until this process ends.

    The lock belongs to the process: whatever kills it, the next run is let in.

    Raises:
        RefusedError: if another run holds it, naming the run, its process and its start.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK_NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RefusedError(
                f"another run writes into {printable(str(output))}: {file.read().strip() or 'unknown'}"
            ) from None
        file.truncate(0)
        file.write(
            f"run {run_id}, process {os.getpid()} on {socket.gethostname()}, "
            f"started {datetime.now(UTC).isoformat(timespec='seconds')}\n"
        )
        file.flush()
        yield


def remove_orphans(output: Path) -> int:
    """Remove what runs that died left behind: temporary files, and files of slices whose `videos` is not there.

    The caller holds the lock. Gives back how many files were removed.
    """
    committed = {path.relative_to(output / "videos") for path in (output / "videos").glob("run=*/*.parquet")}
    orphans = [
        path
        for table in TABLES
        for path in (output / table).glob("run=*/*")
        if (path.name.startswith(TEMPORARY_PREFIX) and path.name.endswith(TEMPORARY_SUFFIX))
        or (path.suffix == ".parquet" and path.relative_to(output / table) not in committed)
    ]
    for path in orphans:
        path.unlink()
    return len(orphans)


def read_completed(output: Path, constants: RunConstants) -> Completed:
    """Read which videos an output folder holds.

    Raises:
        RefusedError: if they were annotated by another model or with other settings, with the difference.
    """
    by_name: dict[bytes, tuple[bytes, Status]] = {}
    columns = ["video_uri", "video_version", "member", "status", "model_name", "model_sha256"]
    for path in sorted((output / "videos").glob("run=*/*.parquet")):
        file = pq.ParquetFile(path)
        _refuse_other_settings(path, file.schema_arrow.metadata or {}, constants)
        for row in file.read(columns=columns).to_pylist():
            if row["model_sha256"] != constants.model_sha256:
                raise RefusedError(
                    f"{printable(str(output))} holds results of the model {row['model_name']} ({row['model_sha256'][:12]}…), and this "
                    f"run would use {constants.model_name} ({constants.model_sha256[:12]}…); name another --output"
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
