"""The job that is at work: waited for, ended in time, and cancelled when its launcher leaves."""

import contextlib
import json
import logging
import re
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import FlinkRunnerOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

_CANCEL_SECONDS: Final = 10.0
_ASK_SECONDS: Final = 3.0
_FLINK_ENDED: Final = frozenset({"FINISHED", "FAILED", "CANCELED", "CANCELLING", "SUSPENDED"})
_JAVA_FRAME: Final = re.compile(r"\s+(at |\.\.\. )")
_CAUSE: Final = "Caused by: "
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
            JobFailedError: if it fails on a cluster, or Flink still starts it again after failures at the deadline.
            ConnectionError: if the job server is there no more.
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
            except grpc.RpcError as error:
                raise ConnectionError(f"the job server went away: {error.details()}") from error
        if not PipelineState.is_terminal(result.state):
            failure = self._failure_on_flink(result)
            self.cancel()
            if failure:
                raise JobFailedError(failure)
        self._result = None
        return result

    def _failure_on_flink(self, result: PipelineResult) -> str | None:
        """Why Flink has started the job again, if it has, and --flink_master says where to ask."""
        if not self._flink_master.startswith("["):
            with contextlib.suppress(OSError, ValueError):
                return failure_on_flink(self._flink_master, _name_of(result))
        return None

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
                    cancel_on_flink(self._flink_master, _name_of(result))
            with contextlib.suppress(Exception):  # one that runs here, or has ended, cannot be cancelled
                result.cancel()

        asking = threading.Thread(target=ask, name="cancel", daemon=True)
        asking.start()
        asking.join(_CANCEL_SECONDS)


def _name_of(result: PipelineResult) -> str:
    """As Flink knows the job."""
    return str(result._job_id).rpartition("_")[0]


def cancel_on_flink(master: str, job_name: str) -> None:
    """Cancel the jobs of a name that are at work.

    Args:
        master: the address of Flink's web page, as host:port or with http:// in front.
        job_name: as Beam gave it.

    Raises:
        OSError: if nobody answers there.
        ValueError: if it is not Flink that does.
    """
    base = _address(master)
    for job in _at_work(base, job_name):
        request = urllib.request.Request(f"{base}/jobs/{job}?mode=cancel", method="PATCH")  # noqa: S310
        urllib.request.urlopen(request, timeout=_ASK_SECONDS).close()  # noqa: S310


def failure_on_flink(master: str, job_name: str) -> str | None:
    """Why a job of a name, which is at work, has last been started again, in one line; None if it has not been.

    Args and what is raised are those of `cancel_on_flink`.
    """
    base = _address(master)
    for job in _at_work(base, job_name):
        if failures := _get(f"{base}/jobs/{job}/exceptions")["exceptionHistory"]["entries"]:
            return reason_of(failures[0]["stacktrace"])
    return None


def _address(master: str) -> str:
    return master if "://" in master else f"http://{master}"


def _at_work(base: str, job_name: str) -> list[str]:
    """Flink's names for the jobs of a name that have not ended."""
    jobs = _get(f"{base}/jobs/overview")["jobs"]
    return [job["jid"] for job in jobs if job["name"] == job_name and job["state"] not in _FLINK_ENDED]


def _get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=_ASK_SECONDS) as answer:  # noqa: S310
        return json.load(answer)


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

    A job server gives the trace of a Java exception, and Flink those of all its causes, which quote that of a worker's
    Python exception. The reason is the last line of the latter, or else the first of the innermost Java cause.
    """
    lines = [line for line in message.splitlines() if line.strip() and not _JAVA_FRAME.match(line)]
    if "Traceback (most recent call last):" in message:
        errors = [line for line in lines[1:] if _PYTHON_ERROR.match(line)]
        if errors:
            return errors[-1]
    innermost = [line for line in lines if line.startswith(_CAUSE)][-1:] or lines[:1]
    return innermost[0].removeprefix(_CAUSE).rpartition("failed in state FAILED: ")[2]
