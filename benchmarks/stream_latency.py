"""How long it takes from a file to its row, while files keep arriving; with an hour-long video among them, and without.

    python benchmarks/stream_latency.py [--long-seconds 3600] [--stream NAME -- --runner=… …]

A folder is looked at each second, by `mmeg watch` or, with --stream, by the streaming pipeline with these flags. When
the row of a first video is there, one of ten seconds (360p) is renamed into it every other second. A row is there when
a query finds it in the tables. In the second run a long video is the fifth. A latency holds the five seconds for which
a file must rest, a poll, and, of a stream, up to thirty seconds to the next early firing. Both annotate short videos beside the long one,
which `mmeg watch` takes for one if its file is larger than 32 MiB: 300 s of this. Makes its inputs first, in build/benchmarks.
"""

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

import pyarrow.parquet as pq
from inputs import benchmark_video

HEIGHT = 360
SHORT_SECONDS = 10
NUM_VIDEOS = 40
SECONDS_BETWEEN = 2.0


def rows(output: Path, seen: dict[tuple[Path, int], set[str]]) -> set[str]:
    """The names of all videos published so far; each file is read once, and again when a pane has replaced it."""
    for path in output.glob("videos/*/*.parquet"):
        key = path, path.stat().st_ino
        if key not in seen:
            uris = pq.read_table(path, columns=["video_uri"], partitioning=None)["video_uri"].to_pylist()
            seen[key] = {os.path.basename(uri) for uri in uris}
    return set().union(*seen.values())


def latencies(videos: Sequence[Path], command: Sequence[str]) -> dict[str, float]:
    """Seconds from the renaming of each video to its row, by name, in the order of their arrival."""
    with tempfile.TemporaryDirectory(dir=videos[0].parent) as folder:
        incoming, output = Path(folder) / "in", Path(folder) / "out"
        incoming.mkdir()
        flags = [str(incoming), "--output", str(output), "--poll-seconds", "1"]
        log = Path(folder) / "log"

        def arrive(number: int) -> None:
            hidden = incoming / f".{number}.mp4"
            shutil.copyfile(videos[number], hidden)
            hidden.rename(incoming / f"{number:03d}.mp4")
            arrived[f"{number:03d}.mp4"] = time.monotonic()

        with (
            log.open("wb") as stderr,
            subprocess.Popen(
                [sys.executable, "-m", "pipelines.cli", *command, *flags],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            ) as process,
        ):
            arrived: dict[str, float] = {}
            found: dict[str, float] = {}
            seen: dict[tuple[Path, int], set[str]] = {}
            shutil.copyfile(videos[0], incoming / "first.mp4")
            started = math.inf
            while len(found) <= len(videos):
                if process.poll() is not None:
                    raise RuntimeError(f"it ended with status {process.returncode}: {log.read_text()}")
                now = time.monotonic()
                if len(arrived) < len(videos) and now >= started + SECONDS_BETWEEN * len(arrived):
                    arrive(len(arrived))
                for name in rows(output, seen) - found.keys():
                    found[name] = time.monotonic()
                if started == math.inf and found:
                    started = now
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            process.wait()
    return {name: found[name] - arrived[name] for name in arrived}


def line(name: str, seconds: Sequence[float]) -> str:
    """The closing line of one run."""
    p95 = quantiles(seconds, n=20)[-1]
    return (
        f"latency_{name}: median_seconds={median(seconds):.1f} p95_seconds={p95:.1f} "
        f"max_seconds={max(seconds):.1f} videos={len(seconds)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--long-seconds", type=int, default=3600)
    parser.add_argument("--stream", metavar="NAME")
    parser.add_argument("flags", nargs="*", help="of the stream")
    given = parser.parse_args()
    # Where this was started in the background, SIGINT may be ignored, and what it starts would not end by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    long_seconds, by = given.long_seconds, given.stream or "watch"
    command = ["annotate", "--streaming", *given.flags] if given.stream else ["watch"]
    short = benchmark_video(HEIGHT, seconds=SHORT_SECONDS)
    long = benchmark_video(HEIGHT, seconds=long_seconds)
    without = latencies([short] * NUM_VIDEOS, command)
    print("without a long video:", *(f"{seconds:.1f}" for seconds in without.values()))
    among = latencies([*[short] * 4, long, *[short] * (NUM_VIDEOS - 5)], command)
    print("with one, the fifth:", *(f"{seconds:.1f}" for seconds in among.values()))
    of_long = among.pop("004.mp4")
    print(line(f"{by}_short_alone", list(without.values())))
    print(line(f"{by}_short_among_{long_seconds}s", list(among.values())))
    print(f"latency_{by}_long_{long_seconds}s: seconds={of_long:.1f}")


if __name__ == "__main__":
    main()
