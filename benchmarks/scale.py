"""What mmeg itself costs a video, with a decoder and a network that do nothing.

    python benchmarks/scale.py

Stages over 1,000, 10,000 and 100,000 files: finding them, annotating them in slices of 1,000, reading back what is
done (as the next run does first), and merging the small files. Each number of files has a process of its own; prints
the processor time a video and the highest memory of that process in each stage, and how a video's cost at 10,000 and
at 100,000 compares with that at 1,000. Then 1,000 videos in slices of 64, the default on one machine, whose pipelines
take their time to be laid out; and one slice of 1,000 and of 10,000, as on a cluster. Takes about a quarter of an hour.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmeg_model.clip import FRAME_SIZE, SAMPLES_PER_FRAME, Clip, num_frames_between
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef
from mmeg_model.media.windows import Window
from pipelines.compact import compact
from pipelines.completed import read_completed
from pipelines.find_videos import find_videos
from pipelines.inference import ClipModelHandler, DecodedClip
from pipelines.local_run import LocalRun, still_to_do
from pipelines.options import AnnotateOptions
from pipelines.slices import SliceLimits
from pipelines.spooled import Spooled
from pipelines.summary import RunSummary
from pipelines.tables import Annotation, Failure

RUNS = (
    ("", (1_000, 10_000, 100_000), 1_000),
    ("slices_of_64_", (1_000,), 64),
    ("one_slice_", (1_000, 10_000), 10**9),
)
"""A name, how many videos, how many of them in a slice."""
CLIPS_PER_VIDEO = 2
CLIP_MS = 6_000


class Idle:
    """Decoders that say at once that every video has two clips of nothing."""

    probed_ms = decoded_ms = num_damaged_packets = num_retries = 0

    def probe(self, video: VideoRef) -> VideoInfo:
        return VideoInfo(
            duration_ms=CLIPS_PER_VIDEO * CLIP_MS, stated_duration_ms=None, container="matroska,webm",
            video_codec="h264", width=1280, height=720, rotation_degrees=0, audio_codec="aac",
        )  # fmt: skip

    def decode(
        self, video: VideoRef, info: VideoInfo, windows: Sequence[Window], *,
        on_cpu_seconds: Callable[[float], None], **_: Any,
    ) -> Iterator[Clip]:  # fmt: skip
        for start_ms, end_ms in windows:
            on_cpu_seconds(0.0)
            yield Clip(start_ms, end_ms, *_NOTHING)

    def close(self) -> None:
        pass


_IDLE = Idle()
_FRAMES = num_frames_between(0, CLIP_MS)
_NOTHING = (
    np.zeros((_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), np.uint8), np.ones(_FRAMES, bool),
    np.zeros(_FRAMES * SAMPLES_PER_FRAME, np.int16), np.ones(_FRAMES * SAMPLES_PER_FRAME, bool),
)  # fmt: skip
"""Made once: to fill such arrays is the decoder's work."""


@dataclass(frozen=True)
class IdlePool:
    """In place of a `DecoderPool`."""

    size = 2

    def shared(self) -> Idle:
        return _IDLE

    def close(self) -> None:
        pass


class IdleHandler(ClipModelHandler):
    """A network that says the same of every clip."""

    def load_model(self) -> Any:
        return None

    def _outcomes(self, batch: Sequence[DecodedClip], model: Any) -> list[Annotation | Failure]:
        same = {task: (1 / len(labels),) * len(labels) for task, labels in LABELS_BY_TASK.items()}
        return [
            Annotation(item.clip_index, item.clip.start_ms, item.clip.end_ms, "audio+video", same)
            for item in batch
        ]


@dataclass
class Stages:
    """Times what is done, and asks the kernel for the highest memory on the way."""

    num_videos: int
    lines: list[str] = field(default_factory=list)

    def measure(self, name: str, work: Callable[[], Any]) -> Any:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        start = time.process_time()
        result = work()
        microseconds = (time.process_time() - start) / self.num_videos * 1e6
        status = Path("/proc/self/status").read_text()
        peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1e3
        print(f"{name} {self.num_videos} {microseconds:.1f} {peak_mb:.0f}", flush=True)
        return result


def measure(num_videos: int, slice_videos: int) -> None:
    """Run all stages; prints a line for each."""
    import apache_beam  # noqa: F401 - not to be counted with the first stage
    import torch  # noqa: F401

    stages = Stages(num_videos)
    with tempfile.TemporaryDirectory() as folder:
        archive, output = Path(folder, "archive"), Path(folder, "out")
        for number in range(num_videos):
            path = archive / f"{number // 1000:03d}" / f"{number:06d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        output.mkdir()
        options = AnnotateOptions([], output=str(output), num_shards=1)
        run = LocalRun.of(options)
        handler = IdleHandler(bundle=None, device="cpu", tasks=run.settings.tasks, batch_size=8)
        run = replace(
            run,
            pool=IdlePool(),  # type: ignore[arg-type]
            handler=handler,
            limits=SliceLimits(num_videos=slice_videos, num_bytes=10**12),
        )
        found = stages.measure("find", lambda: Spooled(find_videos([str(archive)])))
        with closing(found):
            summary = RunSummary()
            stages.measure("annotate", lambda: run.run(found, summary))
            assert summary.num_clips == CLIPS_PER_VIDEO * num_videos, summary

            def resume() -> int:
                completed = read_completed(run.output, run.constants)
                return sum(1 for _ in still_to_do(found, completed, RunSummary(), limit=None))

            assert stages.measure("resume", resume) == 0
            stages.measure("compact", lambda: compact(run.output))


def measured(num_videos: int, slice_videos: int) -> dict[str, tuple[float, float]]:
    """Microseconds a video and peak megabytes, by stage."""
    command = [sys.executable, __file__, str(num_videos), str(slice_videos)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    print(done.stdout, end="", flush=True)
    return {
        stage: (float(microseconds), float(peak_mb))
        for stage, _, microseconds, peak_mb in map(str.split, done.stdout.splitlines())
    }


def main() -> None:
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), int(sys.argv[2]))
        return
    lines = []
    for kind, sizes, slice_videos in RUNS:
        by_size = {size: measured(size, slice_videos) for size in sizes}
        for size in sizes:
            for stage, (microseconds, peak_mb) in by_size[size].items():
                if kind and stage != "annotate":
                    continue
                ratio = microseconds / by_size[sizes[0]][stage][0]
                lines.append(
                    f"{kind}{stage}_{size}: microseconds_per_video={microseconds:.0f} peak_mb={peak_mb:.0f} "
                    f"ratio={ratio:.2f} runs=1"
                )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
