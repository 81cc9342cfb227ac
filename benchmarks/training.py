"""How fast the networks train, and how much of that time they wait for clips.

    python benchmarks/training.py

A corpus of synthetic clips of four seconds is made, and decoded into shards; then `mmeg train` runs from the shards
and from the corpus' own cache of decoded clips in turn, with one process that prepares batches. Of each training the
first epoch is left out: it starts that process. Peak memory is the summed proportional set size of all processes.
The corpus is kept in build/benchmarks. Takes about six minutes on two cores, most of it for `paper`.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from inputs import FOLDER
from memory import peak_memory_mb

RUNS = {"compact": 3, "paper": 1}
NUM_VIDEOS = 32
SECONDS = 4
NUM_EPOCHS = {"compact": 4, "paper": 2}
CLIPS_PER_EPOCH = {"compact": 256, "paper": 4}
BATCH_SIZE = {"compact": 32, "paper": 2}
CONFIG = """
data = "{data}"
corpora = ["synthetic"]
output = "{output}"
name = "benchmark"
validation_folds = 8
cache = "{cache}"
num_workers = 1

[training]
preset = "{preset}"
num_epochs = {num_epochs}
clips_per_epoch = {clips_per_epoch}
batch_size = {batch_size}
"""
EPOCH = re.compile(r"epoch (\d+): .*; ([\d.]+) clips/s, waited for clips ([\d.]+)%")


def mmeg(*arguments: object) -> str:
    """Run a command of mmeg, and give back what it says on stderr."""
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ).stderr


def corpus() -> tuple[Path, Path]:
    """Folders of the corpus' files and of its shards."""
    files, shards = FOLDER / "corpora", FOLDER / "prepared"
    if not (files / "synthetic").exists():
        mmeg("synth", files / "synthetic", "--videos", NUM_VIDEOS, "--seconds", SECONDS)
    mmeg("prepare", "synthetic", "--data", files, "--output", shards)
    return files, shards


def train(preset: str, data: Path) -> tuple[float, float, float]:
    """Clips per second, the share of time spent waiting for them (medians of epochs), and peak memory in MB."""
    said = ""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "run.toml"
        config.write_text(
            CONFIG.format(
                data=data,
                output=folder,
                cache=FOLDER / "clips",
                preset=preset,
                num_epochs=NUM_EPOCHS[preset],
                clips_per_epoch=CLIPS_PER_EPOCH[preset],
                batch_size=BATCH_SIZE[preset],
            )
        )

        def run() -> None:
            nonlocal said
            said = mmeg("train", config)

        memory_mb = peak_memory_mb(run)
    epochs = [(float(rate), float(waited) / 100) for _, rate, waited in EPOCH.findall(said)][1:]
    return median(rate for rate, _ in epochs), median(waited for _, waited in epochs), memory_mb


def main() -> None:
    files, shards = corpus()
    train("compact", files)  # decodes into the cache
    lines = []
    for preset in CLIPS_PER_EPOCH:
        found: dict[str, list[tuple[float, float, float]]] = {"shards": [], "files": []}
        for _ in range(RUNS[preset]):
            for name, data in (("shards", shards), ("files", files)):
                found[name].append(train(preset, data))
                print(preset, name, "{:.2f} clips/s, {:.1%} waiting, {:.0f} MB".format(*found[name][-1]))
        rates, waits, memories = (
            {name: median(run[column] for run in runs) for name, runs in found.items()} for column in range(3)
        )
        lines += [
            f"{preset}_shards_over_files: ratio={rates['shards'] / rates['files']:.3f} runs={RUNS[preset]}",
            f"{preset}_waiting_of_training: ratio={waits['shards']:.4f} runs={RUNS[preset]}",
            f"{preset}_clips: per_second={rates['shards']:.2f} runs={RUNS[preset]}",
            f"{preset}_peak_memory: pss_mb={memories['shards']:.0f} runs={RUNS[preset]}",
        ]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
