"""What the launcher of the Flex Template runs: one launch starts one job, over one slice; launched again, it goes on."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from apache_beam.options.pipeline_options import StandardOptions

from mmeg_model.locked import InUseError
from pipelines.annotate_command import parse
from pipelines.completed import Completed, RefusedError, read_completed
from pipelines.ending import ALL_OK, COULD_NOT_START, quiet_libraries, say
from pipelines.find_videos import Found, find_videos
from pipelines.local_run import LocalRun, still_to_do
from pipelines.options import AnnotateOptions
from pipelines.slices import cut_into_slices
from pipelines.spooled import Spooled
from pipelines.starting import CannotStartError, leave_lock_to_job, locked_output, tidy
from pipelines.stream_command import annotate_stream
from pipelines.summary import RunSummary

INPUTS: Final = "inputs"
"""The parameter of the template that is no flag: INPUTs with commas between them."""
OF_STREAMS: Final = ("subscription", "poll_seconds")
"""Parameters of which one makes it a stream."""
SWITCHES: Final = ("retry_failed", "replace_changed")
"""Parameters that are true or false."""


def flags_of(parameters: Sequence[str]) -> list[str]:
    """The arguments of `mmeg annotate` for the `--name=value` that a launcher is given; Beam's own stay as they are."""
    inputs: list[str] = []
    flags: list[str] = []
    for parameter in parameters:
        name, equals, value = parameter.removeprefix("--").partition("=")
        if not parameter.startswith("--") or not equals:
            flags.append(parameter)
        elif name == INPUTS:
            inputs += filter(None, (one.strip() for one in value.split(",")))
        elif name in SWITCHES:
            flags += [f"--{name.replace('_', '-')}"] * (value.lower() == "true")
        elif name in _own_names():
            flags += [f"--{name.replace('_', '-')}={value}"] if value else []
            flags += ["--streaming"] * (name in OF_STREAMS and bool(value) and "--streaming" not in flags)
        else:
            flags.append(parameter)
    return [*inputs, *flags]


def _own_names() -> set[str]:
    import argparse

    parser = argparse.ArgumentParser(add_help=False)
    AnnotateOptions._add_argparse_args(parser)
    return {flag.removeprefix("--").replace("-", "_") for flag in parser._option_string_actions}


def launch(parameters: Sequence[str]) -> int:
    """Start the job, and do not wait for it; gives back an exit status."""
    quiet_libraries()
    inputs, options = parse(flags_of(parameters))
    try:
        if not options.output:
            raise CannotStartError("--output is missing: the folder of the tables, gs://bucket/prefix")
        if options.view_as(StandardOptions).streaming:
            return annotate_stream(inputs, options)
        return _launch_slice(inputs, options)
    except (CannotStartError, RefusedError, InUseError) as error:
        say(f"mmeg: {error}")
        return COULD_NOT_START


def _launch_slice(inputs: Sequence[str], options: AnnotateOptions) -> int:
    try:
        run = LocalRun.of(options)
        found = Spooled(find_videos(inputs, parquet_shards=bool(options.bytes_column)))
    except (ValueError, OSError) as error:
        raise CannotStartError(str(error)) from error
    with found, contextlib.closing(run.pool):
        if not any(item.video for item in found):
            reasons = "; ".join(item.failure.message for item in found if item.failure)
            raise CannotStartError(f"there is nothing to annotate: {reasons or '--inputs names nothing'}")
        with locked_output(run):
            _launch_behind_lock(run, found)
    return ALL_OK


def _launch_behind_lock(run: LocalRun, found: Spooled[Found]) -> None:
    completed = read_completed(run.output, run.constants, retake=run.retake)
    tidy(run.output, completed)
    items = next(cut_into_slices(_to_do(found, completed, run), run.limits), None)
    if items is None or not any(item.video for item in items):
        raise CannotStartError("nothing is left to do; of what failed, --retry-failed takes up again")
    gigabytes = sum(item.num_bytes for item in items) / 1e9
    say(f"{len(items)} inputs, {gigabytes:.1f} GB, are this job's slice; launch again to go on behind it")
    run.lay_out(items, slice_index=0, completed=completed).run()
    leave_lock_to_job(run)


def _to_do(found: Iterable[Found], completed: Completed, run: LocalRun) -> Iterator[Found]:
    """What is left, so that launch after launch comes to an end: shards of which something is done are looked into."""
    if run.options.limit:
        return still_to_do(found, completed, RunSummary(), limit=run.options.limit, members_of=run.members_of)

    def is_begun(item: Found) -> bool:
        return bool(item.is_shard and item.video and len(completed.members_done(item.video.location)))

    untouched = (item for item in found if not is_begun(item))
    begun = (item for item in found if is_begun(item))
    return itertools.chain(
        still_to_do(untouched, completed, RunSummary(), limit=None),
        still_to_do(begun, completed, RunSummary(), limit=None, members_of=run.members_of),
    )
