"""`mmeg annotate`: from arguments to an exit status."""

import argparse
import contextlib
import json
import secrets
import time
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, Final

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from mmeg_model.locked import InUseError
from mmeg_model.media.shards import is_compressed
from mmeg_model.media.source import VideoRef
from pipelines.cluster_job import JobFailedError
from pipelines.completed import Completed, RefusedError, read_completed
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
from pipelines.find_videos import FindReport, Found, find_videos
from pipelines.local_run import LocalRun, still_to_do
from pipelines.options import AnnotateOptions
from pipelines.progress import RunProgress, shown
from pipelines.runners import EMBEDDED, add_job_server_flags, flink_stream_flags, job_server_options
from pipelines.spooled import Spooled
from pipelines.starting import CannotStartError, check_not_overtaken, locked_output, made_ready, tidy
from pipelines.summary import RunSummary

_EXAMPLES: Final = """\
examples:
  mmeg annotate videos/ --output annotations/
  mmeg annotate 'archive/**/*.mkv' interview.wav list.csv --output annotations/ --tasks emotion
  mmeg annotate gs://bucket/2024/ 'gs://bucket/**/*.mp4' --output annotations/
  mmeg annotate videos/ --output annotations/ --dry-run

INPUT is a file, a folder (recursively), a glob, each of them local or gs://…, or a manifest of such: a .txt with
one input a line, a .csv or .parquet with a column uri, or a .jsonl. Beam's own options are understood too; what follows -- is passed to Beam unchecked.

exit status: 0 every input is ok, 1 some failed or are partial, 2 could not start and nothing was touched,
3 ended early (run it again: what was published stands), 130 interrupted"""


def parse(arguments: Sequence[str]) -> tuple[list[str], AnnotateOptions]:
    """The inputs, and the options for Beam and for us.

    Raises:
        SystemExit: with status 2 for a flag that nobody knows or a value that does not fit; with 0 after --help.
        CannotStartError: if no job server answers where one is named.
    """
    dashes = list(arguments).index("--") if "--" in arguments else len(arguments)
    ours, unchecked = list(arguments[:dashes]), list(arguments[dashes + 1 :])
    usage = "mmeg annotate INPUT... --output DIR [options]"
    own_help = argparse.ArgumentParser(
        prog="mmeg annotate",
        usage=usage,
        description="Annotate videos with the emotion and the gender that a viewer would perceive, clip by clip.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    own_help.add_argument("inputs", nargs="*", metavar="INPUT", help="file, folder, glob or manifest")
    AnnotateOptions._add_argparse_args(own_help)
    if {"-h", "--help"} & set(ours):
        own_help.print_help()
        raise SystemExit(0)

    every_flag = argparse.ArgumentParser(
        prog="mmeg annotate", usage=usage, add_help=False, allow_abbrev=False
    )
    for options_class in _all_options_classes():
        options_class._add_argparse_args(every_flag)
    known, others = every_flag.parse_known_args(ours)
    of_job_server: list[str] = []
    if known.job_endpoint and not known.runner:
        every_flag.error(
            "--job_endpoint needs a runner: give --runner=FlinkRunner or --runner=PortableRunner"
        )
    if known.job_endpoint and known.job_endpoint != EMBEDDED:
        try:
            described = job_server_options(
                known.job_endpoint, deadline_seconds=known.cluster_deadline_seconds
            )
        except ValueError as error:
            raise CannotStartError(str(error)) from error
        of_job_server = add_job_server_flags(every_flag, described)
        known, others = every_flag.parse_known_args(ours)
    if unknown := [other for other in others if other.startswith("-")]:
        every_flag.error(f"unknown flag {unknown[0]}; see mmeg annotate --help")
    if known.dry_run:
        every_flag.error("--dry_run is Beam's, for Dataflow; to see what would be annotated, say --dry-run")
    if known.direct_num_workers != every_flag.get_default("direct_num_workers"):
        every_flag.error("--direct_num_workers follows from --num-decoders; give that")
    given = {name: value for name, value in vars(known).items() if value != every_flag.get_default(name)}
    # Beam asks the job server again, and takes from the flags what no options class knows.
    for_job_server = [
        f"--{name}" if value is True else f"--{name}={value}"
        for name in of_job_server
        if (value := given.pop(name, None)) is not None
    ]
    if known.job_endpoint and "job_name" in given:  # by it Flink is asked to cancel this job, and no other
        given["job_name"] += f"-{secrets.token_hex(4)}"
    if known.streaming and (known.runner == "FlinkRunner" or "max_bundle_size" in of_job_server):
        for_job_server += flink_stream_flags(for_job_server)
    return others, AnnotateOptions([*for_job_server, *unchecked], **given)


def _all_options_classes() -> list[Any]:
    return sorted(set(PipelineOptions.__subclasses__()), key=lambda c: c.__name__)


def annotate(arguments: Sequence[str], *, started: float) -> int:
    """Run `mmeg annotate` and give back its exit status.

    Args:
        arguments: behind the command's name.
        started: when the command began, on the monotonic clock.
    """
    quiet_libraries()
    try:
        inputs, options = parse(arguments)
        return _annotate(inputs, options, started)
    except (CannotStartError, RefusedError, InUseError) as error:
        say(f"mmeg annotate: {error}")
        return COULD_NOT_START


def _annotate(inputs: list[str], options: AnnotateOptions, started: float) -> int:
    is_stream = options.view_as(StandardOptions).streaming
    if options.subscription and not is_stream:
        raise CannotStartError("--subscription goes with --streaming, on a runner that streams")
    if not inputs and not is_stream:
        raise CannotStartError("name at least one INPUT: a file, a folder, a glob or a manifest; see --help")
    if not options.output:
        raise CannotStartError("--output DIR is missing: the folder that the tables are written to")
    if is_stream:
        from pipelines.stream_command import annotate_stream

        return annotate_stream(inputs, options)
    report = FindReport()
    try:
        run = LocalRun.of(options)
        found = Spooled(find_videos(inputs, report, parquet_shards=bool(options.bytes_column)))
    except (ValueError, OSError) as error:
        raise CannotStartError(str(error)) from error
    with found:
        if not any(item.video for item in found):
            reasons = "; ".join(item.failure.message for item in found if item.failure)
            raise CannotStartError(f"there is nothing to annotate: {reasons}")
        _tell_what_was_passed_over(report)
        _tell_of_compressed(found)
        with contextlib.closing(run.pool):
            if options.plan_only:
                return _show_plan(run, found, _read_completed(run))
            return _run(made_ready(run), found, started)


def _read_completed(run: LocalRun) -> Completed:
    return read_completed(run.output, run.constants, retake=run.retake)


def _run(run: LocalRun, found: Spooled[Found], started: float) -> int:
    """Annotate what is still to be done, and say what became of it."""
    summary = RunSummary()
    ended_early: Exception | None = None
    with (
        locked_output(run),
        interruptible("published slices stand, the one at work is given up", on_leaving=run.job.cancel),
    ):
        completed = _read_completed(run)
        check_not_overtaken(run)
        try:
            with _spooled_to_do(run, found, completed, summary) as todo:
                tidy(run.output, completed)
                _annotate_slices(run, todo, completed, summary)
        except CannotStartError:
            raise
        except Exception as error:  # whatever it is, the slices that were published stand
            run.job.cancel()
            ended_early = error
    _write_metrics(run, summary)
    print_lines(summary.lines(run.output, seconds=time.monotonic() - started))
    if ended_early is not None:
        if not (
            is_of_surroundings(ended_early) or isinstance(ended_early, JobFailedError)
        ):  # a bug: say where
            traceback.print_exception(ended_early)
        say(f"mmeg annotate ended early: {first_line(ended_early)}")
        say("What was published stands; run the same command again to go on from there.")
        return ENDED_EARLY
    return ALL_OK if summary.all_ok else SOME_FAILED


def _spooled_to_do(
    run: LocalRun, found: Spooled[Found], completed: Completed, summary: RunSummary
) -> Spooled[Found]:
    limit = run.options.limit
    members_of = run.members_of if limit else None  # to count them; else that is left to the pipeline
    try:
        return Spooled(still_to_do(found, completed, summary, limit=limit, members_of=members_of))
    except OSError as error:
        raise CannotStartError(str(error)) from error


def _annotate_slices(run: LocalRun, todo: Spooled[Found], completed: Completed, summary: RunSummary) -> None:
    num_other_versions = summary.num_other_versions
    _tell_of_other_versions(num_other_versions)
    progress = RunProgress(
        run.pool.shared(),
        num_bytes=sum(item.num_bytes for item in todo),
        num_videos=sum(item.video is not None for item in todo),
    )
    with shown(progress):
        run.run(
            todo,
            summary,
            completed=completed,
            on_slice=progress.start_slice,
            on_published=progress.end_slice,
        )
    _tell_of_other_versions(summary.num_other_versions - num_other_versions)  # those in shards
    if summary.num_other_members:
        say(
            f"{summary.num_other_members} members of shards are neither video nor sound by their names; passed over"
        )


def _write_metrics(run: LocalRun, summary: RunSummary) -> None:
    if run.options.metrics_json is None:
        return
    try:
        with open(run.options.metrics_json, "w", encoding="utf-8") as file:
            json.dump(summary.metrics.as_json(), file, indent=2)
            file.write("\n")
    except OSError as error:  # the tables are there all the same
        say(f"--metrics-json {run.options.metrics_json} cannot be written: {error.strerror}")


def _tell_of_other_versions(num_videos: int) -> None:
    if num_videos:
        say(
            f"{num_videos} videos are another version than the one in the tables, and are left as they are; "
            "--replace-changed annotates them again"
        )


def _show_plan(run: LocalRun, found: Spooled[Found], completed: Completed) -> int:
    summary = RunSummary()
    num_videos = 0
    failures: list[str] = []
    for item in still_to_do(found, completed, summary, limit=run.options.limit, members_of=run.members_of):
        if item.failure is not None:
            failures.append(_failure_in_words(item.video, item.failure.message))
        elif item.video is not None:
            num_videos += 1
            print_lines([item.video.uri + (f"\t{item.video.member}" if item.video.member else "")])
    say(f"would annotate {num_videos} videos; {summary.num_done_before.total()} are done already")
    for failure in failures:
        say(failure)
    return ALL_OK


def _failure_in_words(video: VideoRef | None, message: str) -> str:
    named = message if video is None or video.uri in message else f"{video.uri}: {message}"
    return f"{'not readable' if video is not None and video.version else 'not found'}: {named}"


def _tell_what_was_passed_over(report: FindReport) -> None:
    if report.num_other_files:
        say(
            f"{report.num_other_files} files in folders are neither video nor sound by their names; passed over"
        )
    if report.num_linked_folders:
        say(
            f"{report.num_linked_folders} links to folders were not entered; name them as inputs if they are meant"
        )
    if report.num_repeated:
        say(f"{report.num_repeated} videos were named more than once; each is annotated once")


def _tell_of_compressed(found: Iterable[Found]) -> None:
    compressed = [item for item in found if item.is_shard and item.video and is_compressed(item.video)]
    if compressed:
        gigabytes = sum(item.num_bytes for item in compressed) / 1e9
        say(
            f"{len(compressed)} compressed tars ({gigabytes:.1f} GB): each is read through, and takes as much space as "
            "it unpacks to in the folder for temporary files; plain tars need neither"
        )
