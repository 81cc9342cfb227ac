import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState
from makers.published import constants

from pipelines.annotate_command import parse
from pipelines.cli import main
from pipelines.cluster_check import check_worker
from pipelines.cluster_job import JobFailedError, RunningJob, cancel_on_flink, failure_on_flink, reason_of
from pipelines.local_run import LocalRun

FROM_PYTHON = """\
Pipeline BeamApp-1_2 failed in state FAILED: java.lang.RuntimeException: Error received from SDK harness for instruction 4: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1576, in apache_beam.runners.common.DoFnRunner._invoke_lifecycle_method
  File "pipelines/publish.py", line 60, in publish
    raise OSError
OSError: [Errno 28] No space left on device

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "apache_beam/runners/worker/sdk_worker.py", line 310, in _execute
    response = task()
               ^^^^^^
OSError: [Errno 28] No space left on device [while running 'Publish/Write']

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient.fail(FnApiControlClient.java:180)
\t... 1 more
"""
FROM_JAVA = """\
Pipeline BeamApp-1_2 failed in state FAILED: java.io.IOException: Insufficient number of network buffers: required 512.
\tat org.apache.flink.runtime.io.network.buffer.NetworkBufferPool(NetworkBufferPool.java:1)
"""
FROM_FLINK = """\
java.lang.Exception: The user defined 'open()' method caused an exception: StatusRuntimeException: UNAVAILABLE
\tat org.apache.flink.runtime.operators.BatchTask.run(BatchTask.java:517)
Caused by: org.apache.beam.vendor.grpc.StatusRuntimeException: UNAVAILABLE: io exception
\t... 19 more
Caused by: java.net.ConnectException: finishConnect(..) failed: Connection refused
\tat org.apache.beam.vendor.grpc.netty.Socket.finishConnect(Socket.java:1)
"""


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (FROM_PYTHON, "OSError: [Errno 28] No space left on device [while running 'Publish/Write']"),
        (FROM_JAVA, "java.io.IOException: Insufficient number of network buffers: required 512."),
        (FROM_FLINK, "java.net.ConnectException: finishConnect(..) failed: Connection refused"),
        ("Pipeline a failed in state FAILED: unknown error", "unknown error"),
        ("something else", "something else"),
    ],
)
def test_the_reason_is_one_line(message: str, reason: str) -> None:
    assert reason_of(message) == reason


@contextmanager
def flink(jobs: object, failures: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Answers as Flink's web page does; gives its address, and what it was asked to change."""
    changed: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            entries = [{"stacktrace": failure} for failure in failures]
            answers = {
                "/jobs/overview": jobs,
                "/jobs/2/exceptions": {"exceptionHistory": {"entries": entries}},
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path]).encode())

        def do_PATCH(self) -> None:
            changed.append(self.path)
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("localhost", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"localhost:{server.server_port}", changed
        finally:
            server.shutdown()


def test_of_the_jobs_of_a_name_those_at_work_are_cancelled() -> None:
    jobs = [
        {"jid": "1", "name": "ours", "state": "FINISHED"},
        {"jid": "2", "name": "ours", "state": "RUNNING"},
        {"jid": "3", "name": "theirs", "state": "RUNNING"},
        {"jid": "4", "name": "ours", "state": "RESTARTING"},
    ]
    with flink({"jobs": jobs}) as (address, changed):
        cancel_on_flink(address, "ours")
        cancel_on_flink(f"http://{address}", "nobody's")
    assert changed == ["/jobs/2?mode=cancel", "/jobs/4?mode=cancel"]


@pytest.mark.parametrize(
    ("failures", "reason"),
    [((), None), (("E: the last\n\tat a.b.C(C.java:1)\n", "E: the first\n"), "E: the last")],
)
def test_a_job_that_starts_again_says_why(failures: tuple[str, ...], reason: str | None) -> None:
    jobs = [
        {"jid": "1", "name": "ours", "state": "FAILED"},
        {"jid": "2", "name": "ours", "state": "RESTARTING"},
    ]
    with flink({"jobs": jobs}, failures) as (address, _):
        assert failure_on_flink(address, "ours") == reason
        assert failure_on_flink(address, "nobody's") is None


class GoneError(grpc.RpcError):
    def details(self) -> str:
        return "Connection reset by peer"


class JobOfAGoneServer:
    """In place of the result of a pipeline whose job server goes away."""

    state = PipelineState.RUNNING
    _job_id = "nightly-1_2"

    def wait_until_finish(self, duration: int | None = None) -> None:
        raise GoneError

    def cancel(self) -> None:
        raise GoneError


def test_a_job_whose_server_went_away_can_still_be_cancelled_on_flink(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = [
        {"jid": "1", "name": "nightly-1", "state": "RUNNING"},
        {"jid": "2", "name": "nightly", "state": "RUNNING"},
    ]
    with flink({"jobs": jobs}) as (address, changed):
        pipeline = beam.Pipeline(options=PipelineOptions([f"--flink_master={address}"]))
        monkeypatch.setattr(pipeline, "run", JobOfAGoneServer)
        running = RunningJob()
        with pytest.raises(ConnectionError, match="the job server went away: Connection reset by peer"):
            running.run(pipeline)
        running.cancel()
    assert changed == ["/jobs/1?mode=cancel"]


class JobThatEnds(RunningJob):
    """In place of one on a cluster; counts how often it was cancelled."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error
        self.num_cancelled = 0

    def run(self, pipeline: beam.Pipeline, *, deadline_seconds: float | None = None) -> PipelineResult:
        raise self._error

    def cancel(self) -> None:
        self.num_cancelled += 1


def test_ctrl_c_while_a_worker_is_asked_leaves_no_job_behind() -> None:
    job = JobThatEnds(KeyboardInterrupt())
    _, options = parse(["v", "--output=t", "--runner=FlinkRunner"])
    with pytest.raises(KeyboardInterrupt):
        check_worker(options, constants=constants("run"), bundle=None, device="cpu", job=job)
    assert job.num_cancelled == 1


@pytest.mark.parametrize("flags", [[], ["--streaming", "--runner=PrismRunner"]])
@pytest.mark.parametrize(
    "error", [ConnectionError("the job server went away: reset"), JobFailedError("ValueError: no")]
)
def test_what_ends_a_job_early_is_said_and_the_job_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, flags: list[str], error: Exception
) -> None:
    jobs: list[JobThatEnds] = []

    def job() -> JobThatEnds:
        jobs.append(JobThatEnds(error))
        return jobs[-1]

    run_of = LocalRun.of
    monkeypatch.setattr(LocalRun, "of", lambda options: replace(run_of(options), job=job()))
    (tmp_path / "a.wav").write_bytes(b"never read")
    assert main(["annotate", str(tmp_path / "a.wav"), "--output", str(tmp_path / "out"), *flags]) == 3
    said = capsys.readouterr().err
    assert f"mmeg annotate ended early: {error}" in said
    assert "Traceback" not in said, "the launcher's says nothing of the workers"
    assert [each.num_cancelled for each in jobs] == [1]
