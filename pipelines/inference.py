"""The network inside Beam's RunInference."""

import functools
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

import mmeg_model
from mmeg_model.bundle_identity import identity
from mmeg_model.clip import Clip, pad
from mmeg_model.media.source import VideoRef
from pipelines.outcomes import RunConstants
from pipelines.tables import Annotation, Failure, Modalities

if TYPE_CHECKING:
    from mmeg_model.bundle import Model

Device = Literal["auto", "cpu", "cuda"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DecodedClip:
    """A clip on its way from the decoder to the network, inside one process."""

    video: VideoRef
    clip_index: int
    clip: Clip
    decode_seconds: float


@dataclass(frozen=True)
class Inferred:
    """What became of one decoded clip: an annotation or a failure."""

    video: VideoRef
    outcome: Annotation | Failure
    num_valid_frames: int
    num_valid_samples: int
    decode_seconds: float
    inference_seconds: float


def resolve_device(device: Device) -> Literal["cpu", "cuda"]:
    """Turn `auto` into what the machine has.

    Raises:
        ValueError: if `cuda` is asked for and there is no GPU.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU on this machine; use --device cpu or auto")
    return device


def modalities_of(clip: Clip) -> Modalities:
    """What the clip really has; the caller has made sure that one stream counts."""
    if clip.has_audio and clip.has_video:
        return "audio+video"
    return "audio" if clip.has_audio else "video"


class ClipModelHandler(ModelHandler[DecodedClip, Inferred, "Model"]):
    """Annotates clips in batches, one result for each clip whatever happens.

    A batch that does not fit into memory is halved, and later ones are kept to the size that did fit. A batch
    that fails otherwise is tried again clip by clip, so that a poisoned clip costs itself alone.
    """

    def __init__(
        self,
        *,
        bundle: str | None,
        device: Device,
        tasks: Sequence[str],
        batch_size: int,
        constants: RunConstants | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            bundle: the folder of the model; None for the one that ships.
            device: where the network runs; auto is resolved in the process that loads the model.
            tasks: of which annotations are made.
            batch_size: most clips in a batch.
            constants: of the run, whose rows name a model and a version of mmeg: a process that has others does not
                take part.

        Raises:
            ValueError: if batch_size is not positive.
        """
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"{batch_size = } must be at least 1")
        self.bundle = bundle
        self._constants = constants
        self._device = device
        self._tasks = tuple(tasks)
        self._batch_size = batch_size
        self._fitting_batch_size = batch_size

    def load_model(self) -> "Model":
        """The model, one for all threads of this process and for all pipelines that it runs.

        Raises:
            ValueError: if the bundle cannot be loaded or is another one than the run's, if this is another version of
                mmeg, or there is no GPU where one is asked for.
        """
        if self._constants is not None:
            _refuse_others(self._constants, self.bundle)
        with _loading:
            return _loaded(self.bundle, resolve_device(self._device))

    def with_batch_size(self, batch_size: int) -> "ClipModelHandler":
        """The same with other batches."""
        return ClipModelHandler(
            bundle=self.bundle,
            device=self._device,
            tasks=self._tasks,
            batch_size=batch_size,
            constants=self._constants,
        )

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        # max_batch_duration_secs would batch in state, behind a shuffle of the pixels.
        return {"min_batch_size": self._batch_size, "max_batch_size": self._batch_size}

    def get_num_bytes(self, batch: Sequence[DecodedClip]) -> int:
        return sum(item.clip.frames.nbytes + item.clip.samples.nbytes for item in batch)

    def get_metrics_namespace(self) -> str:
        return "mmeg"

    def run_inference(
        self, batch: Sequence[DecodedClip], model: "Model", inference_args: dict[str, Any] | None = None
    ) -> list[Inferred]:
        start = time.monotonic()
        outcomes = self._outcomes(batch, model)
        if len(outcomes) != len(batch):
            raise RuntimeError(
                f"{len(batch)} clips went into the network and {len(outcomes)} results came out"
            )
        seconds = (time.monotonic() - start) / len(batch)
        return [
            Inferred(
                video=item.video,
                outcome=outcome,
                num_valid_frames=int(item.clip.frames_valid.sum()),
                num_valid_samples=int(item.clip.samples_valid.sum()),
                decode_seconds=item.decode_seconds,
                inference_seconds=seconds,
            )
            for item, outcome in zip(batch, outcomes, strict=True)
        ]

    def _outcomes(self, batch: Sequence[DecodedClip], model: "Model") -> list[Annotation | Failure]:
        import torch

        if len(batch) > self._fitting_batch_size:
            return self._in_halves(batch, model)
        # Nothing is retried inside an except block: the exception in hand would keep the batch's tensors alive.
        try:
            return self._annotate(batch, model)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                return [_failure(batch[0], "OutOfMemoryError", f"the clip alone does not fit: {error}")]
            out_of_memory = True
            _log.warning(
                "out of memory with %d clips in a batch, from %s on; going on with half as many",
                len(batch),
                batch[0].video.label,
            )
        except Exception as error:
            if len(batch) == 1:
                return [_failure(batch[0], type(error).__name__, str(error) or "the network failed")]
            out_of_memory = False
            _log.warning(
                "a batch of %d clips failed (%r), from %s on; trying them one by one",
                len(batch),
                error,
                batch[0].video.label,
            )
        if out_of_memory:
            self._fitting_batch_size = -(-len(batch) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return self._in_halves(batch, model)
        return [outcome for item in batch for outcome in self._outcomes([item], model)]

    def _in_halves(self, batch: Sequence[DecodedClip], model: "Model") -> list[Annotation | Failure]:
        middle = -(-len(batch) // 2)
        return [*self._outcomes(batch[:middle], model), *self._outcomes(batch[middle:], model)]

    def _annotate(self, batch: Sequence[DecodedClip], model: "Model") -> list[Annotation | Failure]:
        by_task = model.predict(pad([item.clip for item in batch]))
        outcomes: list[Annotation | Failure] = []
        for i, item in enumerate(batch):
            probabilities = {task: by_task[task][i] for task in self._tasks}
            if not all(np.isfinite(p).all() for p in probabilities.values()):
                outcomes.append(_failure(item, "NotFinite", "the network gave no finite probabilities"))
                continue
            outcomes.append(
                Annotation(
                    clip_index=item.clip_index,
                    start_ms=item.clip.start_ms,
                    end_ms=item.clip.end_ms,
                    modalities=modalities_of(item.clip),
                    probabilities={task: tuple(p.tolist()) for task, p in probabilities.items()},
                )
            )
        return outcomes


def _refuse_others(constants: RunConstants, bundle: str | None) -> None:
    here = version("mmeg")
    if here != constants.mmeg_version:
        raise ValueError(
            f"this worker has mmeg {here}, the run is one of {constants.mmeg_version}: start its workers from the "
            "launcher's image"
        )
    if (model_sha256 := identity(bundle)[1]) != constants.model_sha256:
        raise ValueError(
            f"the model at {bundle or 'its place in mmeg'} is another one on this worker ({model_sha256[:12]}…) than "
            f"where the run was started ({constants.model_sha256[:12]}…)"
        )


_loading = threading.Lock()


# Beam keeps a model for as long as a pipeline; this keeps it over the pipelines of a long list of videos.
@functools.lru_cache(maxsize=1)
def _loaded(bundle: str | None, device: str) -> "Model":
    return mmeg_model.load(bundle, device=device)


def _failure(item: DecodedClip, error: str, message: str) -> Failure:
    _log.info("%s, clip %d: infer: %s: %s", item.video.label, item.clip_index, error, message)
    return Failure("infer", error, message, item.clip.start_ms, item.clip.end_ms)
