"""What Dataflow has to be told so that a worker is one process with one model and many decoders."""

import re
from typing import Final

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from pipelines.options import AnnotateOptions
from pipelines.runners import DATAFLOW, runner_name

_ONE_PROCESS: Final = "no_use_multiple_sdk_containers"
_MODEL_GIB: Final = 6
"""Beam, torch, the network and batches on their way."""
_SHAPES: Final = (
    (r"([a-z0-9]+-)?custom-(?P<number>[1-9]\d*)-\d+(-ext)?", 1),
    (r"[a-z0-9]+-[a-z]+-(?P<number>[1-9]\d*)(-[a-z]+)?", 1),
    (r"a2-(highgpu|ultragpu)-(?P<number>[1-9]\d*)g", 12),
    (r"a2-megagpu-(?P<number>[1-9]\d*)g", 6),
)
"""Names of machine types, and the cores for each one that the number in them counts: cores, or else GPUs."""


def is_dataflow(options: PipelineOptions) -> bool:
    """Whether these options choose Dataflow."""
    return runner_name(options) == DATAFLOW


def prepare(options: AnnotateOptions) -> None:
    """Complete the options of a Dataflow job; what was given stands.

    Raises:
        ValueError: if they cannot make up a job.
    """
    if not options.output.startswith("gs://"):
        raise ValueError(f"--output {options.output}: workers of Dataflow write to gs:// alone")
    # Workers import what the launcher imported: nothing of its session travels.
    options.view_as(SetupOptions).save_main_session = False
    debug = options.view_as(DebugOptions)
    # By default Dataflow starts a process, and in each a model, for each core.
    debug.add_experiment(_ONE_PROCESS)
    if debug.number_of_worker_harness_threads is None:
        debug.number_of_worker_harness_threads = _num_decoders(options)
    cloud = options.view_as(GoogleCloudOptions)
    if options.accelerator:
        services = cloud.dataflow_service_options or []
        if not any(option.startswith("worker_accelerator=") for option in services):
            cloud.dataflow_service_options = [*services, f"worker_accelerator={options.accelerator}"]
    if options.view_as(StandardOptions).streaming:
        cloud.enable_streaming_engine = True
    if options.view_as(WorkerOptions).sdk_container_image:
        # mmeg is in the image: there is nothing to stage.
        options.view_as(SetupOptions).sdk_location = "container"


def resource_hints(options: AnnotateOptions) -> dict[str, str]:
    """What decoding and inference need of a worker, for the composite that holds both; {} on other runners."""
    if not is_dataflow(options):
        return {}
    hints = {}
    if num_decoders := _num_decoders(options):
        gibibytes = _MODEL_GIB + -(-num_decoders * options.decode_memory_mib // 1024)
        hints["min_ram"] = f"{gibibytes}GiB"
    if options.accelerator:
        hints["accelerator"] = options.accelerator
    return hints


def _num_decoders(options: AnnotateOptions) -> int | None:
    """How many a worker has: as many as its type has cores, unless a number is given; None if nobody says."""
    given: int | None = options.num_decoders
    return given or _num_cores(options.view_as(WorkerOptions).machine_type or "")


def _num_cores(machine_type: str) -> int | None:
    """How many a machine of this type has, as its name says; None if it does not, or is of no known shape."""
    name = machine_type.rpartition("/")[2]  # it may stand behind the zone it is of
    for shape, num_cores in _SHAPES:
        if match := re.fullmatch(shape, name):
            return int(match["number"]) * num_cores
    return None


def job_of(options: AnnotateOptions) -> str:
    """The job that a launch starts; of a name there is one that is active in a project and region."""
    cloud = options.view_as(GoogleCloudOptions)
    return f"projects/{cloud.project}/locations/{cloud.region}/jobs/{cloud.job_name}"
