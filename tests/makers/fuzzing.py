"""Broken and forged files through the real `mmeg annotate`: `python -m makers.fuzzing --files 2000`.

Every file must have its one outcome, the run its end, and no decoder may outlive it or grow past its limit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makers.mutations import make_seeds, mutant
from makers.promises import broken_promises
from makers.tables import read

DEADLINE_SECONDS = 20
MEMORY_MIB = 512
LIBRARIES_MIB = 160
"""What a decoder maps of Python's and FFmpeg's files: in its resident size, and not in its limit."""

_RUNNER = """
import json, re, sys, threading, time
from pathlib import Path
import psutil
from pipelines.cli import main

this, ended, peaks_kib, limits = psutil.Process(), threading.Event(), {}, set()

def decoders():
    return [child.pid for child in this.children() if "decoder_process" in " ".join(child.cmdline())]

def watch():
    # Not getrusage(): it counts what this process held before a child's program replaced it.
    while not ended.wait(0.02):
        try:
            for pid in decoders():
                status = Path(f"/proc/{pid}/status").read_text()
                peaks_kib[pid] = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
                limits.add(int(re.search(r"Max data size +(\\d+)", Path(f"/proc/{pid}/limits").read_text())[1]))
        except (psutil.NoSuchProcess, OSError, TypeError):
            continue  # it has just ended, or not begun

watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
status = main(sys.argv[1:])
ended.set()
watcher.join()
left = decoders()
print(json.dumps({
    "status": status, "left": left, "peak_kib": max(peaks_kib.values()), "decoders": len(peaks_kib), "limits": list(limits)
}))
"""


@dataclass(frozen=True)
class FuzzReport:
    """What came of a run over mutants."""

    problems: list[str]
    outcomes: Counter[str]
    """Videos by status."""
    errors: Counter[str]
    """Rows of `errors` by stage and name."""
    killed: list[str]
    """Files that ended a decoder, and how: what isolation is for."""
    num_decoders: int
    """How many were started: each that is killed is replaced."""
    peak_mib: float
    """The largest resident size that any decoder had."""
    seconds: float


def annotate_mutants(folder: Path, *, first: int, count: int) -> FuzzReport:
    """Write the mutants [first, first + count), annotate them, and look at what came of it."""
    seeds = make_seeds(folder / "seeds")
    videos, output = folder / "videos", folder / "output"
    videos.mkdir()
    for number in range(first, first + count):
        name, content = mutant(seeds, number)
        (videos / name).write_bytes(content)
    flags = {
        "--output": output,
        "--decode-deadline-seconds": DEADLINE_SECONDS,
        "--decode-memory-mib": MEMORY_MIB,
        "--max-video-seconds": 600,
    }
    command = [
        sys.executable,
        "-c",
        _RUNNER,
        "annotate",
        videos,
        *(x for pair in flags.items() for x in pair),
    ]
    started = time.monotonic()
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=60 + 10 * count
    )
    seconds = time.monotonic() - started
    ending = _json_of_last_line(done.stdout)
    if ending.get("status") != 1:
        raise RuntimeError(f"the run ended with {ending or done.returncode}: {done.stderr[-2_000:]}")
    problems = []
    if ending.get("left"):
        problems.append(f"decoders are left: {ending['left']}")
    peak_mib = int(ending.get("peak_kib", 0)) / 1024
    if ending.get("limits") != [MEMORY_MIB << 20]:
        problems.append(f"decoders ran under limits of memory of {ending.get('limits')}")
    if not 0 < peak_mib < MEMORY_MIB + LIBRARIES_MIB:
        problems.append(f"a decoder took {peak_mib:.0f} MiB, and {MEMORY_MIB} MiB are its limit")
    num_decoders = int(ending.get("decoders", 0))
    problems += broken_promises(output, num_inputs=count)
    rows = read(output, "errors")
    errors = Counter(f"{row['stage']} {row['error']}" for row in rows)
    named = [row for row in rows if row["error"] in ("DecoderKilled", "DecoderDied", "DeadlineExceeded")]
    killed = [f"{Path(row['video_uri']).name}: {row['message']}" for row in named]
    # A decoder that ends with an exception of Python's has met a bug of ours, not of FFmpeg's.
    problems += [line for line, row in zip(killed, named, strict=True) if row["error"] == "DecoderDied"]
    outcomes = Counter(row["status"] for row in read(output, "videos"))
    return FuzzReport(problems, outcomes, errors, killed, num_decoders, peak_mib, seconds)


def _json_of_last_line(text: str) -> dict[str, Any]:
    lines = text.strip().splitlines()
    return dict(json.loads(lines[-1])) if lines and lines[-1].startswith("{") else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = annotate_mutants(Path(folder), first=given.first, count=given.files)
    print(f"{given.files} files in {report.seconds:.0f} s: {dict(report.outcomes.most_common())}")
    for error, count in report.errors.most_common():
        print(f"{count:6} {error}")
    for line in report.killed:
        print(f"       {line}")
    print(
        f"decoders: {report.num_decoders}, peak {report.peak_mib:.0f} MiB resident, of a limit of {MEMORY_MIB} MiB of private memory"
    )
    for problem in report.problems:
        print(f"PROBLEM: {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
