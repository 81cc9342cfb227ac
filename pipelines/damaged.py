"""Which file of the tables is damaged: what Arrow raises names none."""

import contextlib
from collections.abc import Iterator

import pyarrow as pa

from pipelines.ending import first_line


@contextlib.contextmanager
def naming_damaged(uri: str) -> Iterator[None]:
    """Around what reads an open file, and does nothing else.

    Raises:
        OSError: if it is damaged, with its uri and a way out; what the system has against its reading, as it is.
    """
    try:
        yield
    except (pa.ArrowException, OSError, KeyError) as error:
        # A lack of memory, or a share that is away, is no reason to remove it.
        if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
            raise
        raise OSError(
            f"{uri} is damaged ({first_line(error)}); remove it and the files of the same name beside it, "
            "and its videos are annotated again"
        ) from error
