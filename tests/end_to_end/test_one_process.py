"""One process, one model, many threads: what a worker of a cluster is."""

import threading
import wave
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from makers.tables import read

import mmeg_model
import pipelines.inference
from pipelines.find_videos import find_videos
from pipelines.inference import ClipModelHandler
from pipelines.local_run import LocalRun
from pipelines.options import AnnotateOptions
from pipelines.summary import RunSummary

NUM_THREADS = 8


def test_eight_threads_load_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    for number in range(2 * NUM_THREADS):
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(noise.normal(0, 3000, 16_000).astype("<i2"))
    num_loads, threads = [], set()
    load, run_inference = mmeg_model.load, ClipModelHandler.run_inference

    def counted_load(*args, **options):
        num_loads.append(1)
        return load(*args, **options)

    def counted_inference(self, *args, **options):
        threads.add(threading.get_ident())
        return run_inference(self, *args, **options)

    monkeypatch.setattr(mmeg_model, "load", counted_load)
    monkeypatch.setattr(ClipModelHandler, "run_inference", counted_inference)
    pipelines.inference._loaded.cache_clear()  # of what tests before this one have loaded
    options = AnnotateOptions(
        [], output=str(tmp_path / "out"), num_decoders=NUM_THREADS, device="cpu", slice_videos=8
    )
    run = LocalRun.of(options)
    with closing(run.pool):
        run.run(find_videos([str(tmp_path)]), RunSummary())
    assert len(read(tmp_path / "out", "annotations")) == 2 * NUM_THREADS
    assert len(num_loads) == 1
    assert len(threads) > NUM_THREADS // 2
