"""How dear decoding to clips is beside the ffmpeg command that does the same work.

    python benchmarks/decode.py

For each size of picture, the CPU time (user and system) of decoding on one thread, over that of the command,
in turn; then how much faster two spans are decoded at once, and what a seek costs. The inputs are made first
and kept in build/benchmarks. Needs the ffmpeg command; takes about fifteen minutes, half of it making inputs.
"""

import resource
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

from inputs import benchmark_video

from mmeg_model.media.decode import decode_span
from mmeg_model.media.probe import probe
from mmeg_model.media.windows import Window, fixed_windows

RUNS = 7
HEIGHTS = (360, 720, 1080)
SECONDS = 60
LONG_SECONDS = 192
EVERYTHING: Window = (0, 1 << 40)
FIRST_MINUTE: Window = (0, 60_000)
MIDDLE_MINUTE: Window = (96_000, 156_000)
Work = Callable[[], object]


def run_command(path: Path) -> None:
    """The floor: everything that is needed, on one thread."""
    inputs = ["-threads", "1", "-filter_threads", "1", "-i", str(path)]
    picture = ["-map", "0:v:0", "-vf", "fps=25,scale=96:96,format=rgb24", "-f", "rawvideo", "-y", "/dev/null"]
    sound = ["-map", "0:a:0", "-ar", "16000", "-ac", "1", "-f", "s16le", "-y", "/dev/null"]
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *inputs, *picture, *sound], check=True)


def decode(path: Path, span: Window) -> None:
    """Probe a video, decode its windows that lie in a time range to clips, and throw them away."""
    with path.open("rb") as file:
        info = probe(file)
        windows = [w for w in fixed_windows(info.duration_ms) if span[0] <= w[0] and w[1] <= span[1]]
        for clip in decode_span(file, info, windows):
            assert clip.has_video
            assert clip.has_audio


def cpu_seconds(work: Work) -> float:
    """CPU time of a piece of work, in this process and in the children it waits for."""

    def spent() -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before = spent()
    work()
    return spent() - before


def wall_seconds(work: Work) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def ratio(measure: Callable[[Work], float], above: Work, below: Work) -> float:
    """The median over runs in which two pieces of work take turns, so that a busy neighbour hits both."""
    ratios = []
    for _ in range(RUNS):
        seconds = measure(above), measure(below)
        print(f"  {seconds[0]:.2f} s over {seconds[1]:.2f} s")
        ratios.append(seconds[0] / seconds[1])
    return median(ratios)


def main() -> None:
    lines = []
    for height in HEIGHTS:
        path = benchmark_video(height, seconds=SECONDS)
        print(f"{path.name}: CPU time, decoding over the ffmpeg command")
        found = ratio(cpu_seconds, partial(decode, path, EVERYTHING), partial(run_command, path))
        lines.append(f"h264_{height}p: ratio={found:.3f} runs={RUNS}")

    path = benchmark_video(720, seconds=LONG_SECONDS)
    spans = [(0, 30_000), (90_000, 120_000)]
    print("two spans of 30 s: wall time, one after the other over at once")
    with ProcessPoolExecutor(2) as pool:

        def at_once() -> None:
            list(pool.map(decode, [path] * 2, spans))

        def in_turn() -> None:
            for span in spans:
                pool.submit(decode, path, span).result()

        at_once()  # start both, and let them import
        lines.append(f"two_spans_at_once: speedup={ratio(wall_seconds, in_turn, at_once):.3f} runs={RUNS}")

    print("a span of 60 s: CPU time, from the middle over from the start")
    found = ratio(cpu_seconds, partial(decode, path, MIDDLE_MINUTE), partial(decode, path, FIRST_MINUTE))
    lines.append(f"seek_60s: ratio={found:.3f} runs={RUNS}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
