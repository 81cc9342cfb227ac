"""`mmeg annotate`: from arguments to an exit status."""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NoReturn

from apache_beam.options.pipeline_options import PipelineOptions

from mmeg_model.bundle_identity import bundle_folder, identity, read_config
from mmeg_model.media.decoders import DecoderLimits
from pipelines.completed import Completed, RefusedError, locked, read_completed, remove_orphans
from pipelines.decode_clips import DecoderPool
from pipelines.find_videos import FindReport, Found, find_videos
from pipelines.inference import ClipModelHandler, resolve_device
from pipelines.local_run import RunSummary, new_run_id, run_slices, still_to_do
from pipelines.options import AnnotateOptions
from pipelines.outcomes import RunConstants
from pipelines.progress import RunProgress, shown
from pipelines.settings import Settings
from pipelines.slices import SliceLimits

ALL_OK: Final = 0
SOME_FAILED: Final = 1
COULD_NOT_START: Final = 2
ENDED_EARLY: Final = 3
INTERRUPTED: Final = 130

_EXAMPLES: Final = """\
examples:
  mmeg annotate videos/ --output annotations/
  mmeg annotate 'archive/**/*.mkv' interview.wav list.csv --output annotations/ --tasks emotion
  mmeg annotate videos/ --output annotations/ --dry-run

INPUT is a file, a folder (recursively), a glob, or a manifest: a .txt with one input a line, or a .csv with a
column uri. Beam's own options are understood too; what follows -- is passed to Beam unchecked.

exit status: 0 every input is ok, 1 some failed or are partial, 2 could not start and nothing was touched,
3 ended early (run it again: what was published stands), 130 interrupted"""


class _CannotStartError(Exception):
    """A reason for exit status 2."""


def parse(arguments: Sequence[str]) -> tuple[list[str], AnnotateOptions]:
    """The inputs, and the options for Beam and for us.

    Raises:
        SystemExit: with status 2 for a flag that nobody knows or a value that does not fit; with 0 after --help.
    """
    ours, _, unchecked = _split_at_dashes(arguments)
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
    if unknown := [other for other in others if other.startswith("-")]:
        every_flag.error(f"unknown flag {unknown[0]}; see mmeg annotate --help")
    given = {name: value for name, value in vars(known).items() if value != every_flag.get_default(name)}
    return others, AnnotateOptions(unchecked, **given)


def _split_at_dashes(arguments: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    position = list(arguments).index("--") if "--" in arguments else len(arguments)
    return (
        list(arguments[:position]),
        list(arguments[position : position + 1]),
        list(arguments[position + 1 :]),
    )


def _all_options_classes() -> list[Any]:
    return sorted(set(PipelineOptions.__subclasses__()), key=lambda c: c.__name__)


def annotate(arguments: Sequence[str]) -> int:
    """Run `mmeg annotate` and give back its exit status."""
    inputs, options = parse(arguments)
    try:
        return _annotate(inputs, options)
    except (_CannotStartError, RefusedError) as error:
        _say(f"mmeg annotate: {error}")
        return COULD_NOT_START


def _annotate(inputs: list[str], options: AnnotateOptions) -> int:
    started = time.monotonic()
    if not inputs:
        raise _CannotStartError("name at least one INPUT: a file, a folder, a glob or a manifest; see --help")
    if not options.output:
        raise _CannotStartError("--output DIR is missing: the folder that the tables are written to")
    output = Path(options.output).absolute()
    settings, constants, pool, handler = _checked(options)

    report = FindReport()
    try:
        found = list(find_videos(inputs, report))
    except ValueError as error:
        raise _CannotStartError(str(error)) from error
    if not any(item.video for item in found):
        reasons = "; ".join(item.failure.message for item in found if item.failure)
        raise _CannotStartError(f"there is nothing to annotate: {reasons}")
    _tell_what_was_passed_over(report)

    if options.plan_only:
        return _show_plan(found, _read_completed(output, constants), options.limit)

    with _locked(output, constants.run_id):
        completed = _read_completed(output, constants)
        if num_orphans := remove_orphans(output):
            _say(f"removed {num_orphans} files of a run that died before it published them")
        summary = RunSummary()
        todo = list(still_to_do(found, completed, summary, limit=options.limit))
        if summary.num_other_versions:
            _say(
                f"{summary.num_other_versions} videos have changed since they were annotated, and are left as they are"
            )
        decoders = pool.shared()
        decoders.start()
        progress = RunProgress(
            decoders,
            num_bytes=sum(item.num_bytes for item in todo),
            num_videos=sum(item.video is not None for item in todo),
        )
        ended_early: Exception | None = None
        with _interruptible(output, constants.run_id, pool), shown(progress):
            try:
                run_slices(
                    todo,
                    output=output,
                    constants=constants,
                    pool=pool,
                    handler=handler,
                    window_ms=settings.window_ms,
                    num_shards=options.num_shards,
                    limits=SliceLimits(num_videos=options.slice_videos, num_bytes=options.slice_bytes),
                    options=options,
                    summary=summary,
                    on_slice=progress.start_slice,
                    on_published=progress.end_slice,
                )
            except Exception as error:  # whatever it is, the slices that were published stand
                ended_early = error
        decoders.close()
    _print_summary(summary, output, seconds=time.monotonic() - started)
    if ended_early is not None:
        _say(f"mmeg annotate ended early: {_first_line(ended_early)}")
        _say("What was published stands; run the same command again to go on from there.")
        return ENDED_EARLY
    return ALL_OK if summary.all_ok else SOME_FAILED


def _checked(options: AnnotateOptions) -> tuple[Settings, RunConstants, DecoderPool, ClipModelHandler]:
    """Everything that can be wrong before anything is touched."""
    try:
        settings = Settings(
            tasks=tuple(filter(None, (task.strip() for task in options.tasks.split(",")))),
            window_ms=_whole_ms(options.window_seconds),
        )
        model_name, model_sha256 = identity(options.bundle)
        model_tasks = read_config(bundle_folder(options.bundle))["labels"]
        if missing := [task for task in settings.tasks if task not in model_tasks]:
            raise ValueError(f"the model {model_name} was not trained for {', '.join(missing)}; see --tasks")
        device = resolve_device(options.device)
        limits = DecoderLimits(
            deadline_seconds=options.decode_deadline_seconds, memory_bytes=options.decode_memory_mb << 20
        )
    except ValueError as error:
        raise _CannotStartError(str(error)) from error
    constants = RunConstants(
        run_id=new_run_id(),
        model_name=model_name,
        model_sha256=model_sha256,
        settings_sha256=settings.sha256,
        settings_json=json.dumps(settings.canonical(), sort_keys=True),
        mmeg_version=version("mmeg"),
    )
    handler = ClipModelHandler(
        bundle=options.bundle and os.path.abspath(options.bundle),
        device=device,
        tasks=settings.tasks,
        batch_size=options.batch_size,
    )
    return settings, constants, DecoderPool(options.num_decoders, limits), handler


def _whole_ms(seconds: float) -> int:
    ms = round(seconds * 1000)
    if abs(ms - seconds * 1000) > 1e-6:
        raise ValueError(f"--window-seconds {seconds} is no whole number of milliseconds")
    return ms


def _read_completed(output: Path, constants: RunConstants) -> Completed:
    if output.exists() and not output.is_dir():
        raise RefusedError(f"--output {output} is no folder")
    return read_completed(output, constants)


@contextlib.contextmanager
def _locked(output: Path, run_id: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(output, run_id=run_id))
        except OSError as error:
            raise _CannotStartError(f"--output {output} cannot be written to: {error.strerror}") from error
        yield


@contextlib.contextmanager
def _interruptible(output: Path, run_id: str, pool: DecoderPool) -> Iterator[None]:
    """On SIGINT give up the slice at work, and leave at once: Beam's threads would first finish it."""

    def leave(*_: object) -> NoReturn:
        pool.shared().close()
        remove_orphans(output)
        _say(f"\ninterrupted: published slices stand, the one at work is given up (run {run_id})")
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show_plan(found: list[Found], completed: Completed, limit: int | None) -> int:
    summary = RunSummary()
    todo = list(still_to_do(found, completed, summary, limit=limit))
    for item in todo:
        if item.video is not None:
            print(item.video.uri)
    num_videos = sum(item.video is not None for item in todo)
    _say(f"would annotate {num_videos} videos; {summary.num_done_before.total()} are done already")
    for item in todo:
        if item.failure is not None:
            _say(f"not found: {item.failure.message}")
    return ALL_OK


def _tell_what_was_passed_over(report: FindReport) -> None:
    if report.num_other_files:
        _say(
            f"{report.num_other_files} files in folders are neither video nor sound by their names; passed over"
        )
    if report.num_repeated:
        _say(f"{report.num_repeated} videos were named more than once; each is annotated once")


def _print_summary(summary: RunSummary, output: Path, *, seconds: float) -> None:
    before = summary.num_done_before.total()
    counts = ", ".join(f"{summary.num_videos[status]} {status}" for status in ("ok", "partial", "failed"))
    print(
        f"videos    {summary.num_videos.total()}: {counts}"
        + (f"; {before} were done before" if before else "")
    )
    print(f"clips     {summary.num_clips} annotated, {summary.num_failed_clips} failed")
    most_common = ", ".join(f"{n} × {stage}/{error}" for (stage, error), n in summary.failures.most_common(3))
    print(f"failures  {summary.failures.total()}" + (f": {most_common}" if most_common else ""))
    print(
        f"speed     {summary.annotated_seconds:.1f} s of media in {seconds:.1f} s: "
        f"{summary.annotated_seconds / seconds:.1f} × real time"
    )
    print(f"tables    {output}")


def _first_line(error: Exception) -> str:
    """Beam puts a whole traceback into the message of what a worker raised; its first line is the reason."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
