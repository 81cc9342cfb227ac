"""What runs a pipeline: which runners are clusters, what their job servers know, and what is chosen for their workers."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Final

import grpc
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.runner import create_runner

LOCAL_RUNNER: Final = "FnApiRunner"
DATAFLOW: Final = "DataflowRunner"
_ON_JOB_SERVERS: Final = frozenset({"PortableRunner", "FlinkRunner", "SparkRunner"})
_OF_FLINK_STREAMS: Final = (
    # Else what a step gives out while a checkpoint is made waits until that step gets something else, which the steps
    # behind an impulse never do: such a stream may stand still from its start.
    "--finish_bundle_before_checkpointing",
    # A checkpoint waits for the bundle that is at work: the default of 1,000 spans is some hours.
    "--max_bundle_size=8",
    # And what it has passed already does not wait for it meanwhile.
    "--unaligned_checkpoint_enabled",
)
EMBEDDED: Final = "embed"
"""The --job_endpoint of a job server inside the launcher."""
BATCH_SIZES: Final = {"cpu": 8, "cuda": 32}
"""Clips in a batch where the user does not say: a clip of six seconds is 4.5 MB, and larger batches of them are no
faster on a processor; a GPU that they do not fit into halves them."""


def runner_name(options: PipelineOptions) -> str:
    """The name of the runner as its class says it.

    Raises:
        ValueError: if nobody knows it.
    """
    given = options.view_as(StandardOptions).runner
    return LOCAL_RUNNER if given is None else type(create_runner(given)).__name__


def is_cluster(options: PipelineOptions) -> bool:
    """Whether the pipeline runs on other machines than this one, or may."""
    return runner_name(options) in {DATAFLOW, *_ON_JOB_SERVERS}


def is_on_job_server(options: PipelineOptions) -> bool:
    """Whether the pipeline is handed to Beam's job server, as for Flink."""
    return runner_name(options) in _ON_JOB_SERVERS


def default_batch_size(options: PipelineOptions, *, device: str) -> int:
    """Clips in a batch, for a device of `auto`, `cpu` or `cuda`; on Dataflow, auto is a GPU if the job asks for one."""
    if device == "auto":
        services = options.view_as(GoogleCloudOptions).dataflow_service_options or []
        device = "cuda" if any(service.startswith("worker_accelerator") for service in services) else "cpu"
    return BATCH_SIZES[device]


def job_server_options(
    endpoint: str, *, deadline_seconds: float
) -> list[beam_job_api_pb2.PipelineOptionDescriptor]:
    """The options that a job server knows: its own and those of its cluster.

    Raises:
        ValueError: if it does not answer as a job server does, with the reason.
    """
    with grpc.insecure_channel(endpoint) as channel:
        try:
            answer = beam_job_api_pb2_grpc.JobServiceStub(channel).DescribePipelineOptions(
                beam_job_api_pb2.DescribePipelineOptionsRequest(), timeout=deadline_seconds
            )
        except grpc.RpcError as error:
            raise ValueError(
                f"--job_endpoint {endpoint}: no job server answers there ({error.details()}). Start one, of this Beam "
                "version, or name the address of one that runs; templates/flink/README.md says how"
            ) from error
    return list(answer.options)


def flink_stream_flags(given: Sequence[str]) -> list[str]:
    """What every stream on Flink needs, beside the flags for the job server that are given and go first."""
    names = {flag.partition("=")[0] for flag in given}
    return [flag for flag in _OF_FLINK_STREAMS if flag.partition("=")[0] not in names]


def add_job_server_flags(
    parser: argparse.ArgumentParser, described: Iterable[beam_job_api_pb2.PipelineOptionDescriptor]
) -> list[str]:
    """Let a parser understand what a job server does; gives back the names that it did not know before.

    Values are left to the job server to judge: they stay text, or True for a switch.
    """
    names = []
    for option in described:
        is_switch = (
            option.type == beam_job_api_pb2.PipelineOptionType.BOOLEAN and option.default_value != "true"
        )
        try:
            parser.add_argument(
                f"--{option.name}", default=None, action="store_true" if is_switch else "store"
            )
        except argparse.ArgumentError:  # one of Beam's
            continue
        names.append(option.name)
    return names
