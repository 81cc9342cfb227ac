"""`mmeg annotate --streaming`: one job that does not end, on a runner that streams."""

import contextlib
import os
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import apache_beam as beam
from apache_beam.io.gcp.pubsub import parse_subscription
from apache_beam.options.pipeline_options import StandardOptions

from mmeg_model.media.objects import SCHEME
from pipelines.cluster_job import JobFailedError
from pipelines.completed import read_completed
from pipelines.dataflow import is_dataflow, job_of
from pipelines.ending import ALL_OK, ENDED_EARLY, INTERRUPTED, first_line, is_of_surroundings, say
from pipelines.local_run import LocalRun
from pipelines.options import AnnotateOptions
from pipelines.pulled import PullNotifications
from pipelines.runners import LOCAL_RUNNER, is_on_job_server, runner_name
from pipelines.starting import (
    CannotStartError,
    check_watched,
    leave_lock_to_job,
    locked_output,
    made_ready,
    tidy,
)
from pipelines.stream import AnnotateStream, PollInputs, ReadNotifications

_DO_NOT_STREAM: Final = (None, "DirectRunner", LOCAL_RUNNER)
_READ_MESSAGES: Final = ("DataflowRunner", "BundleBasedDirectRunner")
"""Elsewhere Beam's Python has no reader of Pub/Sub but one that runs in Java: they are pulled, and acknowledged behind
checkpoints, which Prism has not."""


def annotate_stream(inputs: Sequence[str], options: AnnotateOptions) -> int:
    """Run the job until it ends or is interrupted, and give back the exit status; on Dataflow, start it.

    Raises:
        CannotStartError: for options that do not go together; nothing was touched.
        RefusedError: if the output holds what this run may not add to.
        InUseError: if another run is in.
    """
    _check(inputs, options)
    try:
        run = LocalRun.of(options)
    except (ValueError, OSError) as error:
        raise CannotStartError(str(error)) from error
    run = replace(run, constants=replace(run.constants, keeps_versions=True))
    run = made_ready(run)
    with contextlib.closing(run.pool), locked_output(run):
        tidy(run.output, read_completed(run.output, run.constants))
        pipeline = beam.Pipeline(options=options)
        build_stream(pipeline, inputs, run)
        try:
            return _wait(pipeline, run)
        except Exception as error:  # whatever it is, what was published stands
            run.job.cancel()
            if not is_of_surroundings(error) and not isinstance(error, JobFailedError):
                traceback.print_exception(error)
            say(f"mmeg annotate ended early: {first_line(error)}")
            say("What was published stands; run the same command again to go on from there.")
            return ENDED_EARLY


def _check(inputs: Sequence[str], options: AnnotateOptions) -> None:
    if options.view_as(StandardOptions).runner in _DO_NOT_STREAM:
        raise CannotStartError(
            "--streaming needs a runner that streams, such as --runner=FlinkRunner, PrismRunner or DataflowRunner; "
            "on this machine alone, `mmeg watch` does the same"
        )
    if bool(inputs) == bool(options.subscription):
        raise CannotStartError(
            "--streaming needs either INPUTs that are looked at again and again, or a --subscription"
        )
    if inputs and runner_name(options) == "BundleBasedDirectRunner":
        raise CannotStartError("BundleBasedDirectRunner reads nothing but a --subscription")
    check_watched(inputs)
    if options.subscription:
        if runner_name(options) not in _READ_MESSAGES and not is_on_job_server(options):
            raise CannotStartError(
                f"--subscription is read on Dataflow and Flink; on {runner_name(options)} name the bucket as INPUT, which "
                "is looked at every --poll-seconds"
            )
        try:
            parse_subscription(options.subscription)
        except ValueError as error:
            raise CannotStartError(
                f"--subscription {options.subscription}: {error}; "
                "it is named projects/PROJECT/subscriptions/NAME"
            ) from error
    for flag in ("limit", "plan_only", "retry_failed", "replace_changed", "metrics_json"):
        if getattr(options, flag):
            name = {"plan_only": "dry-run"}.get(flag, flag.replace("_", "-"))
            raise CannotStartError(f"--{name} goes with what has an end, and a stream has none")


def build_stream(pipeline: beam.Pipeline, inputs: Sequence[str], run: LocalRun) -> None:
    """Lay out the job."""
    options = run.options
    parquet_shards = bool(options.bytes_column)
    # Workers may run in another folder.
    named = [name if name.startswith(SCHEME) else os.path.abspath(name) for name in inputs]
    source: beam.PTransform
    if not options.subscription:
        source = PollInputs(named, poll_seconds=options.poll_seconds, parquet_shards=parquet_shards)
    elif is_on_job_server(options):
        source = PullNotifications(options.subscription, parquet_shards=parquet_shards)
    else:
        source = ReadNotifications(options.subscription, parquet_shards=parquet_shards)
    _ = (
        pipeline
        | "Find" >> source
        | "Stream"
        >> AnnotateStream(
            pool=run.pool,
            handler=run.handler,
            reading=run.reading,
            window_ms=run.settings.window_ms,
            output=run.output.uri,
            num_shards=options.num_shards or 1,
            constants=run.constants,
        )
    )


def _wait(pipeline: beam.Pipeline, run: LocalRun) -> int:
    if is_dataflow(run.options):
        pipeline.run()
        leave_lock_to_job(run)
        say(f"started {job_of(run.options)}; it goes on without this command")
        return ALL_OK
    say("streaming; Ctrl-C ends it")
    try:
        run.job.run(pipeline)
    except KeyboardInterrupt:
        say("interrupted: what was published stands, what is at work is given up")
        run.job.cancel()
        return INTERRUPTED
    return ALL_OK
