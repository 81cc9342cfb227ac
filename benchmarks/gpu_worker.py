"""What one worker with one GPU does: one network, and as many decoders as there are cores.

    python benchmarks/gpu_worker.py

Minutes of 720p, four for each core, through the real pipeline in this process, and through the same decoders alone, in
turn: the wall time of the whole over that of decoding, and the share of the former in which the network computes. On a
GPU that is the time between CUDA events around each batch, from its first copy to the GPU to the last one back: what
the GPU waits for in between counts as computing, so that the share is rather too high. Without a GPU the network runs
on the CPU, and its share is wall time in which at least one batch is in it. The inputs are made first and kept in
build/benchmarks.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from decode import wall_seconds
from inputs import benchmark_video

from mmeg_model.bundle import Model
from mmeg_model.media.source import VideoRef
from pipelines.cores import num_cores
from pipelines.decode_clips import DecoderPool, plan_spans
from pipelines.ending import quiet_libraries
from pipelines.find_videos import find_videos
from pipelines.found import Found
from pipelines.inference import resolve_device
from pipelines.local_run import LocalRun
from pipelines.options import AnnotateOptions
from pipelines.summary import RunSummary

RUNS = 3
HEIGHT = 720
SECONDS = 60
VIDEOS_PER_CORE = 4
WINDOW_MS = 6_000


@dataclass
class Computing:
    """When batches were in the network, in seconds since the beginning, whatever thread they came from."""

    clock: Callable[[], Callable[[], float]]
    """Marks a moment; what it gives back tells when that was, once all is over."""
    moments: list[tuple[Callable[[], float], Callable[[], float]]] = field(default_factory=list)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Note when each call of the network begins and ends."""
        predict = Model.predict

        def noted(model: Model, *arguments: Any) -> Any:
            start = self.clock()
            try:
                return predict(model, *arguments)
            finally:
                self.moments.append((start, self.clock()))

        Model.predict = noted  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            Model.predict = predict  # type: ignore[method-assign]

    def seconds(self) -> float:
        """How long at least one batch was in the network."""
        total, last_end = 0.0, float("-inf")
        for start, end in sorted((start(), end()) for start, end in self.moments):
            total += max(0.0, end - max(start, last_end))
            last_end = max(last_end, end)
        return total


def cpu_clock() -> Callable[[], Callable[[], float]]:
    def mark() -> Callable[[], float]:
        now = time.perf_counter()
        return lambda: now

    return mark


def cuda_clock() -> Callable[[], Callable[[], float]]:
    """The GPU's own clock: a moment is when it comes to it."""

    def marked() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    beginning = marked()

    def mark() -> Callable[[], float]:
        event = marked()

        def seconds() -> float:
            event.synchronize()
            return beginning.elapsed_time(event) / 1000

        return seconds

    return mark


def whole(found: Sequence[Found], device: str) -> tuple[float, float, int]:
    """Annotate with the real pipeline; wall time, that of the network in it, and clips."""
    with tempfile.TemporaryDirectory() as output:
        run = LocalRun.of(AnnotateOptions([], output=output, device=device))
        computing = Computing(cuda_clock() if device == "cuda" else cpu_clock())
        summary = RunSummary()
        with computing.measured():
            seconds = wall_seconds(lambda: run.run(found, summary))
        assert summary.all_ok
        return seconds, computing.seconds(), summary.num_clips


def decoding(found: Sequence[Found], pool: DecoderPool) -> tuple[float, int]:
    """Probe and decode with the same children; wall time, and clips, which are thrown away."""
    decoders = pool.shared()

    def decode(video: VideoRef) -> int:
        spans = plan_spans(video, decoders.probe(video), window_ms=WINDOW_MS)
        return sum(
            1 for s in spans for _ in decoders.decode(video, s.info, s.windows, on_cpu_seconds=lambda _: None)
        )

    videos = [item.video for item in found if item.video is not None]
    num_clips: list[int] = []
    with ThreadPoolExecutor(pool.size) as threads:
        seconds = wall_seconds(lambda: num_clips.extend(threads.map(decode, videos)))
    return seconds, sum(num_clips)


def names_of(path: Path, folder: Path, *, num_videos: int) -> list[Found]:
    """Many names of one file: many videos."""
    for index in range(num_videos):
        (folder / f"{index:04d}{path.suffix}").symlink_to(path)
    return list(find_videos([str(folder)]))


def main() -> None:
    quiet_libraries()
    device = resolve_device("auto")
    if device == "cpu":
        print("no GPU was there: the network runs on the CPU")
    else:
        print(f"the network runs on {torch.cuda.get_device_name()}")
    num_videos = VIDEOS_PER_CORE * num_cores()
    print(f"{num_videos} videos of {SECONDS} s on {num_cores()} decoders")
    with tempfile.TemporaryDirectory() as folder:
        pool = LocalRun.of(AnnotateOptions([], output=folder, device=device)).pool
        found = names_of(benchmark_video(HEIGHT, seconds=SECONDS), Path(folder), num_videos=num_videos)
        with closing(pool):
            # The first clips find a network that is not loaded and decoders that are not started.
            whole(found[: num_cores()], device)
            ratios, shares, speeds = [], [], []
            for _ in range(RUNS):
                above, network, num_clips = whole(found, device)
                below, num_decoded = decoding(found, pool)
                assert num_clips == num_decoded
                print(f"  {above:.2f} s, {network:.2f} s of them the network's, over {below:.2f} s")
                ratios.append(above / below)
                shares.append(network / above)
                speeds.append(num_clips / above)
    print(
        f"{device}_{HEIGHT}p: ratio={median(ratios):.3f} runs={RUNS} network_share={median(shares):.3f} "
        f"clips_per_second={median(speeds):.1f}"
    )


if __name__ == "__main__":
    main()
