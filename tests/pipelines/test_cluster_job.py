import pytest

from pipelines.cluster_job import reason_of

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


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (FROM_PYTHON, "OSError: [Errno 28] No space left on device [while running 'Publish/Write']"),
        (FROM_JAVA, "java.io.IOException: Insufficient number of network buffers: required 512."),
        ("Pipeline a failed in state FAILED: unknown error", "unknown error"),
        ("something else", "something else"),
    ],
)
def test_the_reason_is_one_line(message: str, reason: str) -> None:
    assert reason_of(message) == reason
