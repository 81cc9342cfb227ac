"""The lock that keeps a second run out of an output folder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mmeg_model.media.source import printable

LOCK_NAME: Final = ".mmeg.lock"


class InUseError(ValueError):
    """Another run writes into this folder; nothing was touched."""


@contextmanager
def locked(output: Path, *, by: str) -> Iterator[None]:
    """Keep other runs out of a local output folder, which is made if need be, until this process ends.

    The lock belongs to the process: whatever kills it, the next run is let in.

    Args:
        output: the folder.
        by: who holds it, for those who are kept out, such as `run 20260102T030405` or `mmeg train`.

    Raises:
        InUseError: if another run holds it, naming the run, its process and its start.
        OSError: if the folder cannot be made or written to.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK_NAME).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InUseError(
                f"another run writes into {printable(str(output))}: {file.read().strip() or 'unknown'}"
            ) from None
        file.truncate(0)
        file.write(
            f"{by}, process {os.getpid()} on {socket.gethostname()}, "
            f"started {datetime.now(UTC).isoformat(timespec='seconds')}\n"
        )
        file.flush()
        yield


def holder(output: Path) -> str | None:
    """Who holds the lock of a local output folder now, as `locked` wrote it; None if nobody does.

    Raises:
        OSError: if that cannot be read.
    """
    try:
        file = (output / LOCK_NAME).open("r+", encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip()
    return None
