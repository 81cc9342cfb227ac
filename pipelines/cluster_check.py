"""Whether the workers of a cluster are fit for a run: a job of one element asks one of them, before anything is touched."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.runner import PipelineState

from pipelines.cluster_job import JobFailedError, RunningJob
from pipelines.outcomes import RunConstants

_NAMESPACE: Final = "worker"


@dataclass(frozen=True)
class Worker:
    """What a worker says about itself."""

    mmeg_version: str | None
    """None: mmeg is not installed there."""
    model_sha256: str | None
    """None: the model is not there, or is none."""
    model_problem: str
    """Why."""
    device: Literal["cpu", "cuda"]
    """What it has for the network."""


def _describing(bundle: str | None, device: str) -> Callable[[Any], None]:
    """What a worker does to describe itself.

    A function in a function: such a one is pickled with its code, so that a worker need not have this module.
    """

    def describe(_: object) -> None:
        import importlib.metadata
        import json
        from typing import Any

        from apache_beam.metrics import Metrics

        answer: dict[str, Any] = {
            "mmeg_version": None,
            "model_sha256": None,
            "model_problem": "",
            "device": "cpu",
        }
        try:
            answer["mmeg_version"] = importlib.metadata.version("mmeg")
            import mmeg_model
            from mmeg_model.bundle_identity import identity

            model_sha256 = identity(bundle)[1]
            if device != "cpu":
                import torch

                if torch.cuda.is_available():
                    answer["device"] = "cuda"
            mmeg_model.load(bundle, device=answer["device"])
            answer["model_sha256"] = model_sha256
        except Exception as error:  # of whatever version of mmeg is there
            answer["model_problem"] = f"{type(error).__name__}: {error}"
        Metrics.string_set("worker", "description").add(json.dumps(answer))

    return describe


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
    pipeline = beam.Pipeline(options=own)
    _ = pipeline | beam.Create([None], reshuffle=False) | "Describe" >> beam.Map(_describing(bundle, device))
    try:
        result = job.run(pipeline, deadline_seconds=deadline_seconds)
    except JobFailedError as error:
        raise ValueError(
            f"the workers of the cluster are not fit for this run: {error}. They need the Beam, the Python and the mmeg "
            "of this launcher; templates/flink/README.md says how to start them"
        ) from error
    if result.state != PipelineState.DONE:
        raise ValueError(
            f"no worker of the cluster answered within {deadline_seconds:g} s: it has no free slot, cannot start "
            "workers, or they have another version of Beam or of Python, which their log says; see Flink's web page, or "
            "wait longer by --cluster-deadline-seconds"
        )
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["string_sets"]
    (answer,) = found[0].result
    worker = Worker(**json.loads(answer))
    _refuse(worker, constants, bundle, device)
    return worker


def _refuse(worker: Worker, constants: RunConstants, bundle: str | None, device: str) -> None:
    """Raise if a worker is another than the run needs."""
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
