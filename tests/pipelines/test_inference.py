import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmeg_model.bundle_identity import identity
from mmeg_model.clip import Clip, ClipBatch
from mmeg_model.media.source import VideoRef
from pipelines.inference import ClipModelHandler, DecodedClip, resolve_device
from pipelines.outcomes import RunConstants
from pipelines.tables import Annotation, Failure


def decoded(index: int, *, num_frames: int = 2, level: int = 7) -> DecodedClip:
    clip = Clip(
        start_ms=40 * index,
        end_ms=40 * (index + num_frames),
        frames=np.full((num_frames, 96, 96, 3), level, np.uint8),
        frames_valid=np.ones(num_frames, np.bool_),
        samples=np.zeros(640 * num_frames, np.int16),
        samples_valid=np.zeros(640 * num_frames, np.bool_),
    )
    return DecodedClip(VideoRef("/v.mp4", "1"), index, clip, decode_seconds=0.5)


class TellingModel:
    """Says which clip it saw: the emotion's probabilities carry the level of its first pixel."""

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def predict(self, batch: ClipBatch) -> dict[str, NDArray[np.float32]]:
        self.batch_sizes.append(len(batch.frames))
        level = batch.frames[:, 0, 0, 0, 0].astype(np.float32) / 255
        rest = (1 - level) / 3
        return {
            "emotion": np.stack([level, rest, rest, rest], axis=1),
            "gender": np.full((len(level), 2), 0.5, np.float32),
        }


class SmallModel(TellingModel):
    """Runs out of memory above three clips."""

    def predict(self, batch: ClipBatch) -> dict[str, NDArray[np.float32]]:
        if len(batch.frames) > 3:
            self.batch_sizes.append(len(batch.frames))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().predict(batch)


class PoisonedModel(TellingModel):
    """Fails as a whole if one clip of the batch starts with level 13, and gives NaN for level 14."""

    def predict(self, batch: ClipBatch) -> dict[str, NDArray[np.float32]]:
        first = batch.frames[:, 0, 0, 0, 0]
        if (first == 13).any():
            raise ArithmeticError("a poisoned clip")
        result = super().predict(batch)
        result["emotion"][first == 14] = np.nan
        return result


def handler(**changed: Any) -> ClipModelHandler:
    return ClipModelHandler(
        **{"bundle": None, "device": "cpu", "tasks": ("emotion",), "batch_size": 8, **changed}
    )


def levels(results: list[Any]) -> list[int]:
    return [round(r.outcome.probabilities["emotion"][0] * 255) for r in results]


def test_one_small_result_for_each_clip_in_order() -> None:
    clips = [decoded(i, num_frames=1 + i, level=20 + i) for i in range(4)]
    results = handler().run_inference(clips, TellingModel())
    assert levels(results) == [20, 21, 22, 23]
    assert [r.outcome.clip_index for r in results] == [0, 1, 2, 3]
    assert [r.num_valid_frames for r in results] == [1, 2, 3, 4]
    assert [r.outcome.modalities for r in results] == ["video"] * 4
    assert {r.decode_seconds for r in results} == {0.5}
    assert results[0].outcome.probabilities.keys() == {"emotion"}
    assert not any(isinstance(v, (np.ndarray, torch.Tensor)) for r in results for v in vars(r).values())


def test_out_of_memory_halves_the_batch_and_later_ones_start_there() -> None:
    model, one_handler = SmallModel(), handler()
    clips = [decoded(i, level=20 + i) for i in range(8)]
    assert levels(one_handler.run_inference(clips, model)) == list(range(20, 28))
    assert model.batch_sizes == [8, 4, 2, 2, 2, 2]
    model.batch_sizes.clear()
    assert levels(one_handler.run_inference(clips, model)) == list(range(20, 28))
    assert model.batch_sizes == [2, 2, 2, 2]


def test_a_clip_that_does_not_fit_alone_fails_alone() -> None:
    class NoMemory(TellingModel):
        def predict(self, batch: ClipBatch) -> dict[str, NDArray[np.float32]]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    results = handler().run_inference([decoded(0), decoded(1)], NoMemory())
    assert [r.outcome.error for r in results if isinstance(r.outcome, Failure)] == ["OutOfMemoryError"] * 2


def test_a_poisoned_clip_costs_one_clip() -> None:
    clips = [decoded(i, level=level) for i, level in enumerate([11, 12, 13, 14, 15])]
    results = handler().run_inference(clips, PoisonedModel())
    assert [type(r.outcome) for r in results] == [Annotation, Annotation, Failure, Failure, Annotation]
    poisoned, not_finite = results[2].outcome, results[3].outcome
    assert (poisoned.stage, poisoned.error, poisoned.message) == (
        "infer",
        "ArithmeticError",
        "a poisoned clip",
    )
    assert (poisoned.start_ms, poisoned.end_ms) == (80, 160)
    assert not_finite.error == "NotFinite"


def test_a_model_that_loses_a_clip_is_found_out() -> None:
    class Forgetful(TellingModel):
        def predict(self, batch: ClipBatch) -> dict[str, NDArray[np.float32]]:
            return {task: p[:-1] for task, p in super().predict(batch).items()}

    results = handler().run_inference([decoded(0), decoded(1)], Forgetful())
    assert [r.outcome.error for r in results if isinstance(r.outcome, Failure)] == ["IndexError"] * 2


def test_bytes_are_counted_without_pickling() -> None:
    assert handler().get_num_bytes([decoded(0, num_frames=3)]) == 3 * (96 * 96 * 3 + 640 * 2)


def test_batches_are_of_the_size_asked_for_and_never_wait_for_time() -> None:
    assert handler(batch_size=5).batch_elements_kwargs() == {"min_batch_size": 5, "max_batch_size": 5}


def test_cuda_without_a_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cuda: torch finds no GPU on this machine"):
        resolve_device("cuda")


def test_auto_takes_what_there_is() -> None:
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def run_constants(**others: str) -> RunConstants:
    here = {"model_sha256": identity()[1], "mmeg_version": version("mmeg")}
    return RunConstants(
        run_id="run-1", model_name="a", settings_sha256="s", settings_json="{}", **{**here, **others}
    )


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"mmeg_version": "9.9.9"}, r"this worker has mmeg \S+, the run is one of 9\.9\.9"),
        ({"model_sha256": "0" * 64}, r"the model at its place in mmeg is another one on this worker"),
    ],
)
def test_a_process_that_has_others_takes_no_part(others: dict[str, str], message: str) -> None:
    handler = ClipModelHandler(
        bundle=None, device="cpu", tasks=("emotion",), batch_size=8, constants=run_constants(**others)
    )
    with pytest.raises(ValueError, match=message):
        handler.load_model()


def test_other_batches_are_all_that_changes() -> None:
    handler = ClipModelHandler(
        bundle="/b", device="cpu", tasks=("emotion",), batch_size=8, constants=run_constants()
    )
    larger = handler.with_batch_size(32)
    assert larger.batch_elements_kwargs() == {"min_batch_size": 32, "max_batch_size": 32}
    unlike = {name for name, value in vars(larger).items() if vars(handler)[name] != value}
    assert unlike == {"_batch_size", "_fitting_batch_size"}


def test_stages_that_begin_at_once_load_one_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the two stages of a stream do, in threads of one worker."""
    twice, loads = threading.Event(), []

    def load(bundle: str, device: str) -> TellingModel:
        loads.append(bundle)
        if len(loads) == 2:
            twice.set()
        twice.wait(0.5)  # only a second load could end this sooner
        return TellingModel()

    monkeypatch.setattr("pipelines.inference.mmeg_model.load", load)
    handlers = [
        ClipModelHandler(bundle=str(tmp_path), device="cpu", tasks=("emotion",), batch_size=8)
        for _ in range(2)
    ]
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(ClipModelHandler.load_model, handlers)
    assert first is second
    assert len(loads) == 1
