import argparse
import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, PortableOptions
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from pipelines.annotate_command import parse
from pipelines.runners import (
    add_job_server_flags,
    default_batch_size,
    flink_stream_flags,
    is_cluster,
    is_on_job_server,
    job_server_options,
)


def described(name: str, kind: str, default: str = "") -> beam_job_api_pb2.PipelineOptionDescriptor:
    number = beam_job_api_pb2.PipelineOptionType.Enum.Value(kind)
    return beam_job_api_pb2.PipelineOptionDescriptor(name=name, type=number, default_value=default)


OPTIONS = [
    described("checkpointing_interval", "INTEGER", "-1"),
    described("object_reuse", "BOOLEAN", "false"),
    described("operator_chaining", "BOOLEAN", "true"),
    described("parallelism", "INTEGER", "-1"),
]


class JobServer(beam_job_api_pb2_grpc.JobServiceServicer):
    def DescribePipelineOptions(self, request, context):  # noqa: N802
        return beam_job_api_pb2.DescribePipelineOptionsResponse(options=OPTIONS)


@contextmanager
def serving() -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor())
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(JobServer(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("runner", "cluster", "job_server"),
    [
        (None, False, False),
        ("FnApiRunner", False, False),
        ("PrismRunner", False, False),
        ("FlinkRunner", True, True),
        ("flink", True, True),  # Beam understands that too
        ("PortableRunner", True, True),
        ("DataflowRunner", True, False),
    ],
)
def test_which_runners_are_clusters(runner: str | None, cluster: bool, job_server: bool) -> None:
    options = PipelineOptions([], runner=runner)
    assert (is_cluster(options), is_on_job_server(options)) == (cluster, job_server)


def test_a_runner_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match="Unexpected pipeline runner: FlunkRunner"):
        is_cluster(PipelineOptions([], runner="FlunkRunner"))


def test_flink_starts_one_process_for_each_task_manager_by_default() -> None:
    options = PipelineOptions(["--runner=FlinkRunner"])
    assert int(options.view_as(PortableOptions).sdk_worker_parallelism) == 1


def test_batches_are_larger_on_a_gpu() -> None:
    gpus = PipelineOptions(["--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1"])
    plain = PipelineOptions([])
    assert [default_batch_size(plain, device=device) for device in ("cpu", "cuda", "auto")] == [8, 32, 8]
    assert default_batch_size(gpus, device="auto") == 32


def test_a_job_server_says_what_it_knows() -> None:
    with serving() as endpoint:
        assert job_server_options(endpoint, deadline_seconds=60) == OPTIONS


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))  # without listening
        endpoint = f"localhost:{taken.getsockname()[1]}"
        with pytest.raises(
            ValueError, match=rf"^--job_endpoint {endpoint}: no job server answers there \(.*refused"
        ):
            job_server_options(endpoint, deadline_seconds=60)


def test_somebody_listens_and_says_nothing() -> None:
    with socket.create_server(("localhost", 0)) as silent:
        endpoint = f"localhost:{silent.getsockname()[1]}"
        with pytest.raises(ValueError, match=r"no job server answers there \(Deadline Exceeded\)"):
            job_server_options(endpoint, deadline_seconds=0.5)


def test_somebody_else_listens() -> None:
    with socket.create_server(("localhost", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1024)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        endpoint = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match="no job server answers there"):
            job_server_options(endpoint, deadline_seconds=60)
        thread.join()


def test_flags_of_a_job_server_are_understood() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--parallelism", type=int)
    assert add_job_server_flags(parser, OPTIONS) == [
        "checkpointing_interval",
        "object_reuse",
        "operator_chaining",
    ]
    words = [
        "--checkpointing_interval",
        "9",
        "--object_reuse",
        "--operator_chaining=false",
        "--parallelism=3",
    ]
    given = vars(parser.parse_args(words))
    assert given == {
        "checkpointing_interval": "9",
        "object_reuse": True,
        "operator_chaining": "false",
        "parallelism": 3,
    }


@pytest.mark.parametrize(("more", "are_there"), [(["--streaming"], True), ([], False)])
def test_a_stream_on_flink_waits_neither_for_checkpoints_nor_behind_long_bundles(
    more: list[str], are_there: bool
) -> None:
    _, options = parse(["videos", "--output=tables", "--runner=FlinkRunner", *more])
    flags = {
        "--finish_bundle_before_checkpointing",
        "--max_bundle_size=8",
        "--unaligned_checkpoint_enabled",
    }
    assert flags & set(options._flags) == (flags if are_there else set())


def test_what_is_given_for_a_stream_on_flink_goes_first() -> None:
    flags = flink_stream_flags(["--parallelism=3", "--max_bundle_size=3"])
    assert flags == ["--finish_bundle_before_checkpointing", "--unaligned_checkpoint_enabled"]


def test_jobs_of_one_name_are_told_apart_on_a_cluster() -> None:
    """Flink is asked by name to cancel one."""
    with serving() as endpoint:
        words = [
            "v",
            "--output=t",
            "--runner=PortableRunner",
            f"--job_endpoint={endpoint}",
            "--job_name=nightly",
        ]
        names = {parse(words)[1].view_as(GoogleCloudOptions).job_name for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("nightly-") for name in names)
