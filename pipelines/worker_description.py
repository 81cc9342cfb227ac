"""What a worker does to describe itself.

This file is sent to workers, which may have another mmeg than this one, or none: it needs Beam alone.
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics


class Describe(beam.DoFn):
    """Leaves a description as JSON in the string set `description` of the namespace `worker`."""

    def __init__(self, bundle: str | None, device: str) -> None:
        self.bundle, self.device = bundle, device

    def process(self, element: object) -> Iterable[None]:
        """Describe the worker that runs this, for whatever element."""
        answer: dict[str, Any] = {
            "beam_version": beam.version.__version__,
            "python_version": platform.python_version(),
            "mmeg_version": None,
            "model_sha256": None,
            "model_problem": "",
            "device": "cpu",
        }
        try:
            answer["mmeg_version"] = importlib.metadata.version("mmeg")
            import mmeg_model
            from mmeg_model.bundle_identity import identity

            model_sha256 = identity(self.bundle)[1]
            if self.device != "cpu":
                import torch

                if torch.cuda.is_available():
                    answer["device"] = "cuda"
            mmeg_model.load(self.bundle, device=answer["device"])
            answer["model_sha256"] = model_sha256
        except Exception as error:  # of whatever version of mmeg is there
            answer["model_problem"] = f"{type(error).__name__}: {error}"
        Metrics.string_set("worker", "description").add(json.dumps(answer))
        return ()
