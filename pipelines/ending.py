"""How a command that runs a pipeline ends: its exit status, its last words, and what it does when it is interrupted."""

import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NoReturn

ALL_OK: Final = 0
SOME_FAILED: Final = 1
COULD_NOT_START: Final = 2
ENDED_EARLY: Final = 3
INTERRUPTED: Final = 130


@contextlib.contextmanager
def interruptible(what_stands: str, *, on_leaving: Callable[[], None] = lambda: None) -> Iterator[None]:
    """On SIGINT say what stands, and leave at once: Beam's threads would first finish what they are at.

    Decoders end when this process does. No lock is taken here, since the signal may come while it is held.
    """

    def leave(*_: object) -> NoReturn:
        # Nothing is cleaned up here, beside a thread that may be publishing: every start does that.
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
        print(f"{show_cursor}\ninterrupted: {what_stands}", file=sys.stderr, flush=True)
        on_leaving()
        os._exit(INTERRUPTED)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # as under nohup: not to be interrupted
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def say(text: str) -> None:
    """Tell the user something beside the results."""
    print(text, file=sys.stderr, flush=True)


def print_lines(lines: Sequence[str]) -> None:
    """Print on standard output; a reader that has gone away changes nothing about the run."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in the buffer


def is_of_surroundings(error: BaseException | None) -> bool:
    """Whether a full disk or the like is behind an error; Arrow and Beam wrap it, and Beam keeps but its text."""
    while error is not None:
        if isinstance(error, OSError) or first_line(error).startswith(("OSError", "[Errno")):
            return True
        error = error.__cause__ or error.__context__
    return False


def first_line(error: BaseException) -> str:
    """Beam puts a whole traceback into the message of what a worker raised; its first line is the reason."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def quiet_libraries() -> None:
    """Beam warns of what is meant here, such as several workers in memory; our own warnings stay."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.ERROR)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # it logs what it then raises
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("pipelines").setLevel(logging.WARNING)
    logging.getLogger("mmeg_model").setLevel(logging.WARNING)
