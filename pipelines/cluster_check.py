"""Whether the workers of a cluster are fit for a run: a job of one element asks one of them, before anything is touched."""

import inspect
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState, create_runner
from apache_beam.transforms.environments import SDK_VERSION_CAPABILITY_PREFIX, Environment

from pipelines import worker_description
from pipelines.cluster_job import JobFailedError, RunningJob
from pipelines.outcomes import RunConstants
from pipelines.runners import runner_name
from pipelines.worker_description import Describe

_NAMESPACE: Final = "worker"


@dataclass(frozen=True)
class Worker:
    """What a worker says about itself."""

    beam_version: str
    python_version: str
    mmeg_version: str | None
    """None: mmeg is not installed there."""
    model_sha256: str | None
    """None: the model is not there, or is none."""
    model_problem: str
    """Why."""
    device: Literal["cpu", "cuda"]
    """What it has for the network."""


class DescribeBySource(Describe):
    """Pickled as source, as the bytecode of one Python crashes another, and a worker need not have this module."""

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        source = inspect.getsource(worker_description)
        made = f"exec({source!r}, names := {{}}) or names['Describe']({self.bundle!r}, {self.device!r})"
        return eval, (made,)


class _ForAnyBeam(PipelineRunner):
    """A runner that does not say of which Beam a job is: workers of another one refuse it, and Flink waits for ever."""

    def __init__(self, runner: PipelineRunner) -> None:
        self._runner = runner

    def default_environment(self, options: PipelineOptions) -> Environment:
        return self._runner.default_environment(options)

    def run_portable_pipeline(
        self, pipeline: beam_runner_api_pb2.Pipeline, options: PipelineOptions
    ) -> PipelineResult:
        for environment in pipeline.components.environments.values():
            environment.capabilities[:] = [
                capability
                for capability in environment.capabilities
                if not capability.startswith(SDK_VERSION_CAPABILITY_PREFIX)
            ]
        return self._runner.run_portable_pipeline(pipeline, options)


def check_worker(
    options: PipelineOptions, *, constants: RunConstants, bundle: str | None, device: str, job: RunningJob
) -> Worker:
    """See that a worker answers, has this version of mmeg and the model, and a GPU where one is asked for.

    Args:
        options: of the run.
        constants: of the run.
        bundle: the folder of the model on the workers; None for the one that ships.
        device: as of `--device`.
        job: runs it.

    Raises:
        ValueError: if not, with the reason and the way out.
    """
    deadline_seconds = options.cluster_deadline_seconds
    # A job that fails is tried once more at most, and at once (Flink takes 0 for its own strategy, which may go on for
    # hours), and does not wait for more than one slot.
    retries = ("--number_of_execution_retries=1", "--execution_retry_delay=100")
    flags = [*options._flags, *retries, "--parallelism=1"]
    own = PipelineOptions(flags, **options.get_all_options(drop_default=True))
    own.view_as(PortableOptions).job_server_timeout = round(deadline_seconds) + 1
    own.view_as(StandardOptions).streaming = False  # a stream has no end on Flink, even of one element
    pipeline = beam.Pipeline(_ForAnyBeam(create_runner(runner_name(options))), options=own)
    _ = pipeline | beam.Impulse() | beam.ParDo(DescribeBySource(bundle, device))
    try:
        result = job.run(pipeline, deadline_seconds=deadline_seconds)
    except KeyboardInterrupt:
        job.cancel()
        raise
    except JobFailedError as error:
        raise ValueError(
            f"the workers of the cluster are not fit for this run: {error}. They need the Beam, the Python and the mmeg "
            "of this launcher; templates/flink/README.md says how to start them"
        ) from error
    if result.state != PipelineState.DONE:
        raise ValueError(
            f"no worker of the cluster answered within {deadline_seconds:g} s: it has no free slot (the job of an "
            "earlier launcher may hold them: cancel it in Flink), or cannot start workers, or their Beam is so different "
            "that they cannot read the job, which their log says; see Flink's web page, or wait longer by "
            "--cluster-deadline-seconds"
        )
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["string_sets"]
    (answer,) = found[0].result
    worker = Worker(**json.loads(answer))
    _refuse(worker, constants, bundle, device)
    return worker


def _refuse(worker: Worker, constants: RunConstants, bundle: str | None, device: str) -> None:
    """Raise if a worker is another than the run needs."""
    for name, theirs, ours in (
        ("Beam", worker.beam_version, beam.version.__version__),
        ("Python", _minor(worker.python_version), _minor(platform.python_version())),
    ):
        if theirs != ours:
            raise ValueError(
                f"the workers have {name} {theirs}, the launcher {ours}: start both from one image"
            )
    if worker.mmeg_version != constants.mmeg_version:
        theirs = worker.mmeg_version or "none"
        raise ValueError(
            f"the workers have mmeg {theirs}, the launcher {constants.mmeg_version}: start both from one image"
        )
    if worker.model_sha256 is None:
        raise ValueError(
            f"the workers cannot load the model ({worker.model_problem}): it must lie at the same place there and here"
        )
    if worker.model_sha256 != constants.model_sha256:
        raise ValueError(
            f"the model at {bundle or 'its place in mmeg'} is another one on the workers ({worker.model_sha256[:12]}…) "
            f"than here ({constants.model_sha256[:12]}…): give both the same"
        )
    if device == "cuda" != worker.device:
        raise ValueError(
            "--device cuda: torch finds no GPU on the workers; start them with one, or use --device auto"
        )


def _minor(python_version: str) -> str:
    """3.11 of 3.11.7: what must agree for workers to read what the launcher has pickled."""
    return python_version.rpartition(".")[0]
