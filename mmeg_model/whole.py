"""Files that are there whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file to write to, in a folder that is made if need be.

    It gets its name, over what was there under it, when the block ends and all is on the disk; if the block
    raises, nothing of it stays.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose files are for their owner's eyes alone.
    with (file.parent / f".{secrets.token_hex(8)}.tmp").open("xb") as temporary:
        try:
            yield temporary
            temporary.flush()
            os.fsync(temporary.fileno())
            os.replace(temporary.name, file)
        except BaseException:
            os.unlink(temporary.name)
            raise
