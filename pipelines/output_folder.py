"""The folder that the tables lie in, on a disk or in a bucket: files in it appear whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from mmeg_model.locked import holder, locked
from mmeg_model.media.objects import SCHEME
from mmeg_model.media.source import printable

TEMPORARY: Final = ".tmp"
"""Ends the name of a local file that is being written."""


class OutputFolder(Protocol):
    """Names are relative to the folder, with slashes; `table/run=…/file` is that of a file of a table.

    Raises:
        OSError: by each method, if it cannot be done; FileNotFoundError by `open` and `move`, if nothing is there.
    """

    @property
    def uri(self) -> str:
        """How it is shown."""

    def files(self, table: str) -> dict[str, int]:
        """The files in the folders `run=…` of a table and how many bytes they have, in the order of their runs.

        Not to be let see a file is no answer, but an error.
        """

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file to be read here and there."""

    def writing(self, names: Sequence[str]) -> AbstractContextManager[list[BinaryIO]]:
        """Files that appear when the block ends, in this order, in place of what is there; none, if it raises."""

    def move(self, name: str, new_name: str) -> None:
        """Put a file in the place of another; who is killed meanwhile leaves that one old or new, and perhaps both."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def check_writable(self, tables: Sequence[str]) -> None:
        """See that files of these tables can be written."""

    def locked(self, *, by: str) -> AbstractContextManager[None]:
        """Keep other runs out.

        Raises:
            InUseError: if another run is in, naming it.
        """

    def check_not_held_by_others(self, by: str) -> None:
        """See, from whatever machine, that no other run has taken over from the one called `by`."""

    def check_no_newer_run(self, run_id: str) -> None:
        """See that no later run has published: it may have done again what this one is at."""


def beside(name: str, ending: str) -> str:
    """The name under which a file waits, and no query sees it: DuckDB's globs read dot-files, if `.parquet` ends them."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/.{file.removeprefix('.')}{ending}"


def output_folder(output: str) -> OutputFolder:
    """The folder of this name, which need not be there yet.

    Raises:
        ValueError: if it can be none.
    """
    if output.startswith(SCHEME):
        from pipelines.output_objects import ObjectFolder

        return ObjectFolder(output)
    if "://" in output:
        raise ValueError(f"--output {printable(output)}: tables are written to a local folder or to gs://")
    return LocalFolder(Path(output).absolute())


def overtaken(uri: str, newer: str, *, run_id: str) -> OSError:
    """What is wrong where a later run has published."""
    return OSError(f"{uri}: {newer} has published since run {run_id} began, which may publish no more")


class LocalFolder:
    """A folder on a disk. Files are written under temporary names; what a power cut leaves of them has a name no more."""

    def __init__(self, root: Path) -> None:
        """Touch nothing.

        Raises:
            ValueError: if it cannot be the folder of the tables.
        """
        self._root = root
        try:
            os.fsencode(root).decode()
            if os.path.lexists(root) and not os.path.isdir(root):
                raise ValueError(f"--output {root} is no folder")
            root.exists()  # raises, where a folder above may not be entered or a name is too long
        except UnicodeDecodeError as error:
            raise ValueError(f"--output {self.uri}: its name is no UTF-8") from error
        except OSError as error:
            raise ValueError(f"--output {root} cannot be used: {error.strerror}") from error

    @property
    def uri(self) -> str:
        return printable(str(self._root))

    def files(self, table: str) -> dict[str, int]:
        try:
            runs = sorted(os.listdir(self._root / table))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        found: dict[str, int] = {}
        for run in runs:
            if run.startswith("run="):
                for name in sorted(os.listdir(self._root / table / run)):
                    with contextlib.suppress(FileNotFoundError):  # renamed meanwhile by a run that is at work
                        found[f"{table}/{run}/{name}"] = (self._root / table / run / name).lstat().st_size
        return found

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        return (self._root / name).open("rb")

    @contextlib.contextmanager
    def writing(self, names: Sequence[str]) -> Iterator[list[BinaryIO]]:
        temporaries = [self._root / beside(name, TEMPORARY) for name in names]
        try:
            with contextlib.ExitStack() as stack:
                files: list[BinaryIO] = []
                for path in temporaries:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    files.append(stack.enter_context(path.open("wb")))
                yield files
                for file in files:
                    file.flush()
                    os.fsync(file.fileno())  # a name may not outlive a power cut without its content
            for path, name in zip(temporaries, names, strict=True):
                os.replace(path, self._root / name)
        except BaseException:
            for path in temporaries:
                path.unlink(missing_ok=True)
            raise

    def move(self, name: str, new_name: str) -> None:
        os.replace(self._root / name, self._root / new_name)

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def check_writable(self, tables: Sequence[str]) -> None:
        for table in tables:
            (self._root / table).mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root / table):
                pass

    def locked(self, *, by: str) -> AbstractContextManager[None]:
        return locked(self._root, by=by)

    def check_not_held_by_others(self, by: str) -> None:
        now = holder(self._root)
        if now is not None and not now.startswith(f"{by}, "):
            raise OSError(f"{self.uri}: another run has taken over from {by}: {now}")

    def check_no_newer_run(self, run_id: str) -> None:
        for run in (path for path in self._root.glob("videos/run=*") if path.name > f"run={run_id}"):
            if any(run.glob("[!.]*.parquet")):
                raise overtaken(self.uri, run.name, run_id=run_id)
