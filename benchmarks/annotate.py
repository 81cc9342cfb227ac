"""How dear a whole `mmeg annotate` is beside the ffmpeg commands that do the decoding alone.

    python benchmarks/annotate.py

Ten minutes of 720p, as one file and as ten, on two decoders: wall time without start-up, over that of the floor,
two ffmpeg commands side by side, in turn. Start-up is the wall time of the same command on one second of video.
Then what the network takes of the decoder's CPU time, and peak memory (the summed proportional set size of
all its processes) for ten and for sixty minutes. The inputs are made first and kept in build/benchmarks. Needs the
ffmpeg command; takes about fifteen minutes.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

from decode import cpu_seconds, wall_seconds
from inputs import FOLDER, benchmark_video
from memory import peak_memory_mb

import mmeg_model
from mmeg_model.clip import Clip, pad
from mmeg_model.media.decode import decode_span
from mmeg_model.media.probe import probe
from mmeg_model.media.windows import fixed_windows

RUNS = 3
HEIGHT = 720
SECONDS = 600
NUM_FILES = 10
BATCH_SIZE = 8

FLOOR = (
    "ffmpeg -v error -nostdin -threads 1 -filter_threads 1 {seek} -i {path} "
    "-map 0:v:0 -vf fps=25,scale=96:96,format=rgb24 -f rawvideo -y /dev/null "
    "-map 0:a:0 -ar 16000 -ac 1 -f s16le -y /dev/null"
)


def annotate(inputs: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "pipelines.cli", "annotate", *map(str, inputs), "--output", output]
        subprocess.run(
            [*command, "--num-decoders", "2"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )


def side_by_side(commands: Sequence[str]) -> None:
    """Run commands, two at a time."""
    subprocess.run(
        ["xargs", "-P", "2", "-I", "{}", "sh", "-c", "{}"], input="\n".join(commands), text=True, check=True
    )


def floor_of_one(path: Path) -> None:
    halves = (f"-t {SECONDS // 2}", f"-ss {SECONDS // 2}")
    side_by_side([FLOOR.format(seek=seek, path=path) for seek in halves])


def floor_of_many(paths: Sequence[Path]) -> None:
    side_by_side([FLOOR.format(seek="", path=path) for path in paths])


def names_of(path: Path) -> list[Path]:
    """Ten names of one file: ten videos."""
    links = [FOLDER / f"{path.stem}_{i}.mp4" for i in range(NUM_FILES)]
    for link in links:
        if not link.is_symlink():
            link.symlink_to(path)
    return links


def network_share(path: Path) -> list[float]:
    """CPU time of the network over that of the decoder, for the same clips."""
    model = mmeg_model.load()
    clips: list[Clip] = []

    def decode() -> None:
        with path.open("rb") as file:
            info = probe(file)
            clips[:] = decode_span(file, info, fixed_windows(info.duration_ms))

    def infer() -> None:
        for start in range(0, len(clips), BATCH_SIZE):
            model.predict(pad(clips[start : start + BATCH_SIZE]))

    cpu_seconds(decode)
    cpu_seconds(infer)
    found = []
    for _ in range(RUNS):
        below, above = cpu_seconds(decode), cpu_seconds(infer)
        print(f"  {above:.2f} s over {below:.2f} s")
        found.append(above / below)
    return found


def main() -> None:
    second = benchmark_video(HEIGHT, seconds=1)
    one = benchmark_video(HEIGHT, seconds=SECONDS)
    many = names_of(benchmark_video(HEIGHT, seconds=SECONDS // NUM_FILES))
    hour = benchmark_video(HEIGHT, seconds=3600)
    lines = []
    for name, inputs, floor in (
        ("one", [one], partial(floor_of_one, one)),
        ("ten", many, partial(floor_of_many, many)),
    ):
        print(f"ten minutes as {name}: wall time, annotate (start-up) over the ffmpeg commands")
        found, startups = [], []
        for _ in range(RUNS):
            startups.append(wall_seconds(partial(annotate, [second])))
            below, above = wall_seconds(floor), wall_seconds(partial(annotate, inputs))
            print(f"  {above:.2f} s ({startups[-1]:.2f} s) over {below:.2f} s")
            found.append((above - startups[-1]) / below)
        startup = median(startups)
        lines.append(
            f"h264_{HEIGHT}p_10min_{name}: ratio={median(found):.3f} startup_seconds={startup:.2f} runs={RUNS}"
        )
    print("the network: CPU time over that of the decoder")
    share = median(network_share(many[0]))
    lines.append(f"network_of_decode_{HEIGHT}p: ratio={share:.3f} runs={RUNS}")
    ten_minutes, sixty_minutes = (peak_memory_mb(partial(annotate, [path])) for path in (one, hour))
    lines.append(f"peak_memory_10min: pss_mb={ten_minutes:.0f}")
    lines.append(f"peak_memory_60min: pss_mb={sixty_minutes:.0f} ratio={sixty_minutes / ten_minutes:.3f}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
