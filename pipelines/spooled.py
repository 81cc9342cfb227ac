"""A long sequence on disk: an archive of millions of videos is found once, and never held in memory."""

import contextlib
import errno
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Spooled(Generic[T]):
    """What an iterable yields, in a temporary file that has no name; iterate as often as you like, one at a time."""

    def __init__(self, items: Iterable[T]) -> None:
        """Take all of it.

        Raises:
            OSError: if there is no room for temporary files, with a way out.
        """
        self._file = tempfile.TemporaryFile(prefix="mmeg-")  # noqa: SIM115 - close() does
        self._num_items = 0
        try:
            for item in items:
                pickle.dump(item, self._file)
                self._num_items += 1
            self._file.flush()
        except BaseException as error:
            with contextlib.suppress(OSError):  # what finds no room finds none now either
                self.close()
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(
                    f"{tempfile.gettempdir()}, where temporary files lie, is full ({error.strerror}); "
                    "name another folder in TMPDIR"
                ) from error
            raise

    def __len__(self) -> int:
        return self._num_items

    def __iter__(self) -> Iterator[T]:
        self._file.seek(0)
        for _ in range(self._num_items):
            yield pickle.load(self._file)  # noqa: S301 - what __init__ wrote

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the space back."""
        self._file.close()
