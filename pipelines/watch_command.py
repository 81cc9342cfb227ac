"""`mmeg watch`: folders and buckets are looked at again and again, without a cluster."""

import argparse
import contextlib
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from mmeg_model.locked import InUseError
from mmeg_model.media.source import printable
from pipelines.completed import RefusedError, read_completed
from pipelines.done_videos import Retake
from pipelines.ending import (
    ALL_OK,
    COULD_NOT_START,
    ENDED_EARLY,
    SOME_FAILED,
    first_line,
    interruptible,
    is_of_surroundings,
    print_lines,
    quiet_libraries,
    say,
)
from pipelines.find_videos import Found, find_videos
from pipelines.lanes import LONG_SOUND_BYTES, LONG_VIDEO_BYTES
from pipelines.local_run import LocalRun
from pipelines.options import (
    AnnotateOptions,
    add_machine_flags,
    add_poll_flag,
    add_row_flags,
    add_shard_flags,
    whole_number,
)
from pipelines.starting import CannotStartError, check_watched, load_model, locked_output, tidy
from pipelines.summary import RunSummary
from pipelines.watch import SETTLED_SECONDS, watch

_EPILOG: Final = f"""\
A local file is taken when two looks in a row have found it with the same size and time of change, and that time is
at least {SETTLED_SECONDS:g} s ago; an object, as soon as it is there. Who writes slowly, or pauses, should write under a hidden name (with a
leading dot) and rename. A file that is replaced is a new version: it is annotated too, and the rows of both stand
until `mmeg compact` drops those of the older. What DIR holds already, in the same version, is not done again, and what
failed is not tried again: `mmeg annotate --retry-failed` does that, while nothing watches. A video of more than
{LONG_VIDEO_BYTES >> 20} MiB, a sound of more than {LONG_SOUND_BYTES >> 20} MiB, a tar or Parquet file is annotated beside the others, which do not wait for it: these
have one decoder process more than --num-decoders says.

examples:
  mmeg watch incoming/ --output annotations/
  mmeg watch gs://bucket/incoming/ --output annotations/ --poll-seconds 60

exit status: 130 interrupted (Ctrl-C): what was published stands, what is at work is given up; 2 could not start and
nothing was touched; 3 ended early (run it again: what was published stands); with --stop-after-idle-polls, 0 if
everything annotated is ok, 1 if some failed or are partial"""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mmeg watch",
        usage="mmeg watch INPUT... --output DIR [options]",
        description="Annotate whatever appears in folders and buckets, until interrupted; on this machine, without a "
        "cluster.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="folder, glob, gs://bucket/prefix, file or manifest"
    )
    what = parser.add_argument_group("what is annotated, and where to")
    what.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="the folder of the three tables, or gs://bucket/prefix; made if it is not there",
    )
    add_poll_flag(what, default=10.0)
    what.add_argument(
        "--stop-after-idle-polls",
        type=whole_number(10**9),
        metavar="N",
        help="end when N looks in a row have found nothing new, and nothing is at work (default: go on until interrupted)",
    )
    add_shard_flags(what)
    add_row_flags(parser)
    add_machine_flags(parser)
    return parser.parse_args(arguments)


def watch_command(arguments: Sequence[str], *, started: float) -> int:
    """Run `mmeg watch` and give back its exit status.

    Args:
        arguments: behind the command's name.
        started: when the command began, on the monotonic clock.
    """
    quiet_libraries()
    given = vars(_parse(arguments))
    inputs, idle_polls = given.pop("inputs"), given.pop("stop_after_idle_polls")
    options = AnnotateOptions([], **{name: value for name, value in given.items() if value is not None})
    try:
        try:
            check_watched(inputs)
            run = LocalRun.of(options)
            run = replace(
                run, pool=replace(run.pool, num_decoders=run.pool.size + 1)
            )  # one is left to short videos
        except (ValueError, OSError) as error:
            raise CannotStartError(str(error)) from error
        with contextlib.closing(run.pool):
            run.pool.shared().start()  # beside the model, which takes as long
            load_model(run)
            return _watch(run, inputs, idle_polls, started)
    except (CannotStartError, RefusedError, InUseError) as error:
        say(f"mmeg watch: {error}")
        return COULD_NOT_START


def _watch(run: LocalRun, inputs: Sequence[str], idle_polls: int | None, started: float) -> int:
    run = replace(run, constants=replace(run.constants, keeps_versions=True))
    summary = RunSummary()
    ended_early: Exception | None = None
    poll = _Poll(inputs, parquet_shards=bool(run.options.bytes_column))
    with locked_output(run), interruptible("what was published stands, what is at work is given up"):
        completed = read_completed(run.output, run.constants, retake=Retake(changed=True))
        try:
            tidy(run.output, completed)
            say(f"watching {', '.join(map(printable, inputs))}; Ctrl-C ends it")
            watch(
                run,
                poll,
                completed,
                summary,
                poll_seconds=run.options.poll_seconds,
                idle_polls=idle_polls,
                on_published=lambda items: say(
                    f"published {len(items)} more, {summary.num_videos.total()} videos by now, "
                    f"{summary.num_videos['ok']} of them ok"
                ),
            )
        except Exception as error:  # whatever it is, the slices that were published stand
            ended_early = error
    print_lines(summary.lines(run.output, seconds=time.monotonic() - started))
    if ended_early is not None:
        if not is_of_surroundings(ended_early):  # a bug: say where
            traceback.print_exception(ended_early)
        say(f"mmeg watch ended early: {first_line(ended_early)}")
        say("What was published stands; run the same command again to go on from there.")
        return ENDED_EARLY
    return ALL_OK if summary.all_ok else SOME_FAILED


class _Poll:
    """Finds everything that is there. What cannot be looked at is told once, and looked at again the next time."""

    def __init__(self, inputs: Sequence[str], *, parquet_shards: bool) -> None:
        self._inputs = inputs
        self._parquet_shards = parquet_shards
        self._told: set[str] = set()

    def __call__(self) -> Iterator[Found]:
        try:
            for item in find_videos(self._inputs, parquet_shards=self._parquet_shards):
                if item.failure is None:
                    yield item
                elif item.failure.error != "NothingFound":  # nothing yet
                    self._tell(item.failure.message)
        except ValueError as error:  # a manifest that is being written, or nobody to ask as
            self._tell(str(error))

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            say(message)
