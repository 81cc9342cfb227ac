"""The job that is at work: waited for, ended in time, and cancelled when its launcher leaves."""

import contextlib
import json
import logging
import re
import threading
import urllib.request
from collections.abc import Iterator
from typing import Final

import apache_beam as beam
from apache_beam.options.pipeline_options import FlinkRunnerOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

_CANCEL_SECONDS: Final = 10.0
_FLINK_ENDED: Final = frozenset({"FINISHED", "FAILED", "CANCELED", "CANCELLING", "SUSPENDED"})
_JAVA_FRAME: Final = re.compile(r"\s+(at |\.\.\. )")
_PYTHON_ERROR: Final = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?::|$)")


class JobFailedError(RuntimeError):
    """A job did not run to its end; the text is the reason, in one line."""


class RunningJob:
    """At most one job at a time."""

    def __init__(self) -> None:
        self._result: PipelineResult | None = None
        self._flink_master = ""

    def run(self, pipeline: beam.Pipeline, *, deadline_seconds: float | None = None) -> PipelineResult:
        """Run a pipeline to its end, or until a deadline has passed, behind which it is cancelled.

        Raises:
            JobFailedError: if it fails on a cluster.
            Exception: whatever ends it on this machine.
        """
        self._flink_master = pipeline.options.view_as(FlinkRunnerOptions).flink_master
        with _quiet_root():
            self._result = result = pipeline.run()
            try:
                result.wait_until_finish(
                    duration=None if deadline_seconds is None else round(deadline_seconds * 1000)
                )
            except RuntimeError as error:
                if "failed in state" not in str(error):
                    raise
                raise JobFailedError(reason_of(str(error))) from error
        if not PipelineState.is_terminal(result.state):
            self.cancel()
        self._result = None
        return result

    def cancel(self) -> None:
        """Ask for the end of the job, and wait a little for the answer.

        A job server that is asked to cancel a batch job forgets it, and Flink goes on with it: so Flink is asked too, if
        --flink_master says where it is.
        """
        result, self._result = self._result, None
        if result is None:
            return

        def ask() -> None:
            if not self._flink_master.startswith("["):
                with contextlib.suppress(OSError, ValueError):
                    cancel_on_flink(self._flink_master, result._job_id.rpartition("_")[0])
            with contextlib.suppress(Exception):  # one that runs here, or has ended, cannot be cancelled
                result.cancel()

        asking = threading.Thread(target=ask, name="cancel", daemon=True)
        asking.start()
        asking.join(_CANCEL_SECONDS)


def cancel_on_flink(master: str, job_name: str) -> None:
    """Cancel the jobs of a name that are at work.

    Args:
        master: the address of Flink's web page, as host:port or with http:// in front.
        job_name: as Beam gave it.

    Raises:
        OSError: if nobody answers there.
        ValueError: if it is not Flink that does.
    """
    base = master if "://" in master else f"http://{master}"
    with urllib.request.urlopen(f"{base}/jobs/overview", timeout=_CANCEL_SECONDS) as answer:  # noqa: S310
        jobs = json.load(answer)["jobs"]
    for job in jobs:
        if job["name"] == job_name and job["state"] not in _FLINK_ENDED:
            request = urllib.request.Request(f"{base}/jobs/{job['jid']}?mode=cancel", method="PATCH")  # noqa: S310
            urllib.request.urlopen(request, timeout=_CANCEL_SECONDS).close()  # noqa: S310


@contextlib.contextmanager
def _quiet_root() -> Iterator[None]:
    """Beam logs, under no name, the message that it then raises."""

    def is_named(record: logging.LogRecord) -> bool:
        return record.name != "root"

    root = logging.getLogger()
    root.addFilter(is_named)
    try:
        yield
    finally:
        root.removeFilter(is_named)


def reason_of(message: str) -> str:
    """The line of a job's last message that says why it failed.

    A job server gives the trace of a Java exception, which quotes that of a worker's Python exception. The reason is
    the last line of the latter, or else the first of the former.
    """
    lines = [line for line in message.splitlines() if line.strip() and not _JAVA_FRAME.match(line)]
    if "Traceback (most recent call last):" in message:
        errors = [line for line in lines[1:] if _PYTHON_ERROR.match(line)]
        if errors:
            return errors[-1]
    return lines[0].partition("failed in state FAILED: ")[2] or lines[0]
