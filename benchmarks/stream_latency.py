"""How long it takes from a file to its row, while files keep arriving; with an hour-long video among them, and without.

    python benchmarks/stream_latency.py [--long-seconds 3600] [--prism PROGRAM]

A folder is looked at each second, by `mmeg watch` or, with --prism, by the streaming pipeline on that runner; a video
of ten seconds (360p) is renamed into it every other second. Its row is there when a query finds it in the tables. In
the second run a long video is the fifth. A latency holds the five seconds for which a file must rest, a poll, and, on
Prism, the thirty seconds between two early firings. Both annotate short videos beside the long one,
which `mmeg watch` takes for one if its file is larger than 32 MiB: 300 s of this. Makes its inputs first, in build/benchmarks.
"""

import argparse
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


def latencies(videos: Sequence[Path], prism: str | None) -> dict[str, float]:
    """Seconds from the renaming of each video to its row, by name, in the order of their arrival."""
    with tempfile.TemporaryDirectory(dir=videos[0].parent) as folder:
        incoming, output = Path(folder) / "in", Path(folder) / "out"
        incoming.mkdir()
        watch = ["watch"]
        stream = ["annotate", "--streaming", "--runner=PrismRunner", f"--prism_location={prism}"]
        flags = [str(incoming), "--output", str(output), "--poll-seconds", "1"]
        with subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", *(stream if prism else watch), *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr
            while "Ctrl-C ends it" not in process.stderr.readline():
                pass  # its model is loaded
            arrived: dict[str, float] = {}
            found: dict[str, float] = {}
            seen: dict[tuple[Path, int], set[str]] = {}
            started = time.monotonic()
            while len(found) < len(videos):
                if process.poll() is not None:
                    raise RuntimeError(f"it ended with status {process.returncode}: {process.stderr.read()}")
                now = time.monotonic()
                if len(arrived) < len(videos) and now >= started + SECONDS_BETWEEN * len(arrived):
                    name = f"{len(arrived):03d}.mp4"
                    hidden = incoming / f".{name}"
                    shutil.copyfile(videos[len(arrived)], hidden)
                    hidden.rename(incoming / name)
                    arrived[name] = time.monotonic()
                for name in rows(output, seen) - found.keys():
                    found[name] = time.monotonic()
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            process.communicate()
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
    parser.add_argument("--prism", metavar="PROGRAM")
    given = parser.parse_args()
    long_seconds, prism = given.long_seconds, given.prism
    short = benchmark_video(HEIGHT, seconds=SHORT_SECONDS)
    long = benchmark_video(HEIGHT, seconds=long_seconds)
    without = latencies([short] * NUM_VIDEOS, prism)
    print("without a long video:", *(f"{seconds:.1f}" for seconds in without.values()))
    among = latencies([*[short] * 4, long, *[short] * (NUM_VIDEOS - 5)], prism)
    print("with one, the fifth:", *(f"{seconds:.1f}" for seconds in among.values()))
    of_long = among.pop("004.mp4")
    by = "prism" if prism else "watch"
    print(line(f"{by}_short_alone", list(without.values())))
    print(line(f"{by}_short_among_{long_seconds}s", list(among.values())))
    print(f"latency_{by}_long_{long_seconds}s: seconds={of_long:.1f}")


if __name__ == "__main__":
    main()
