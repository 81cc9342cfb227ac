"""The command `mmeg`."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give back its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Beam and torch take seconds to import: each command imports what it needs, when it is its turn.
    if arguments[:1] == ["annotate"]:
        from pipelines.annotate_command import annotate

        return annotate(arguments[1:])

    from mmeg_model.cli import register

    parser = argparse.ArgumentParser(
        prog="mmeg", description="Perceived emotion and gender for archives of video."
    )
    parser.add_argument("--version", action="version", version=f"mmeg {version('mmeg')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("annotate", help="videos in, three Parquet tables out", add_help=False)
    register(commands)
    parsed = parser.parse_args(arguments)
    return int(parsed.run(parsed) or 0)


if __name__ == "__main__":
    sys.exit(main())
