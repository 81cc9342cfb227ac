"""The command `mmeg`."""

import argparse
import contextlib
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Final

_STARTED: Final = time.monotonic()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give back its exit status."""
    try:
        return _run(argv)
    except KeyboardInterrupt:  # while a command starts, or says what it did
        print("interrupted", file=sys.stderr)
        return 130


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Beam and torch take seconds to import: each command imports what it needs, when it is its turn.
    if arguments[:1] == ["annotate"]:
        with _no_garbage():
            from pipelines.annotate_command import annotate

        return annotate(arguments[1:], started=_STARTED)
    if arguments[:1] == ["watch"]:
        with _no_garbage():
            from pipelines.watch_command import watch_command

        return watch_command(arguments[1:], started=_STARTED)
    if arguments[:1] == ["prepare"]:
        with _no_garbage():
            from pipelines.prepare_command import prepare

        return prepare(arguments[1:])

    if arguments[:1] == ["compact"]:
        from pipelines.compact import compact_command

        return compact_command(arguments[1:])

    from mmeg_model.cli import register

    parser = argparse.ArgumentParser(
        prog="mmeg", description="Perceived emotion and gender for archives of video."
    )
    parser.add_argument("--version", action="version", version=f"mmeg {version('mmeg')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("annotate", help="videos in, three Parquet tables out", add_help=False)
    commands.add_parser("watch", help="whatever appears in folders and buckets", add_help=False)
    commands.add_parser("prepare", help="corpora in, shards of decoded clips out", add_help=False)
    commands.add_parser("compact", help="many small files of the tables into few", add_help=False)
    register(commands)
    parsed = parser.parse_args(arguments)
    return int(parsed.run(parsed) or 0)


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Do not look for garbage among what is imported, now or at exit: a second and more of start-up."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
