"""A run that is killed anywhere and started again until it ends leaves what an undisturbed one leaves."""

import os
import random
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers.killing import kill_tree
from makers.promises import assert_promises
from makers.tables import read

NUM_VIDEOS = 200
NUM_KILLS = int(os.environ.get("MMEG_KILLS", "3"))
"""`make soak` asks for more."""
_OF_THE_RUN = {"run_id", "annotated_at", "occurred_at", "decode_seconds", "inference_seconds"}
SMALL_SLICES = ("--slice-videos", "8", "--num-shards", "2")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short sounds, of which each tenth is broken."""
    folder = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(0)
    for number in range(NUM_VIDEOS):
        path = folder / f"{number:03d}.wav"
        if number % 10 == 3:
            path.write_bytes(b"no sound " * number)
            continue
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            samples = noise.normal(0, 3000, 16_000 * (1 + number % 4) // 4).astype("<i2")
            file.writeframes(samples.tobytes())
    return folder


def command(videos: Path, output: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "pipelines.cli", "annotate"]
    return [*start, str(videos), "--output", str(output), *SMALL_SLICES, *more]


def rows(output: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows in order, but for what differs from run to run; probabilities to three digits."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return tuple(round(probability, 3) for probability in value.values())
        return round(value, 3) if isinstance(value, float) else value

    return {
        table: sorted(
            tuple(str(plain(value)) for name, value in row.items() if name not in _OF_THE_RUN)
            for row in read(output, table)
        )
        for table in ("videos", "errors", "annotations")
    }


def run(arguments: Sequence[str]) -> int:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode


def test_killed_at_random_moments_nothing_is_lost_and_nothing_twice(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "killed"
    started = time.monotonic()
    assert run(command(videos, undisturbed)) == 1
    seconds = time.monotonic() - started
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    moments = random.Random(seed)
    num_kills = 0
    while num_kills < NUM_KILLS:
        process = subprocess.Popen(command(videos, output), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.communicate(timeout=moments.uniform(0.2, 1) * seconds)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            num_kills += 1
        process.communicate()
        if list(output.glob("videos/*/*.parquet")):  # however it ended
            before = {row["video_uri"] for row in read(output, "videos")}
            if process.returncode >= 0:
                assert len(before) == NUM_VIDEOS
                output = tmp_path / f"killed-{num_kills}"  # it ended before it was killed: once more
    assert run(command(videos, output)) == 1
    assert_promises(output, num_inputs=NUM_VIDEOS)
    assert rows(output) == rows(undisturbed)


def test_two_runs_at_the_same_time_are_one_run(videos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = subprocess.Popen(
        command(videos, output), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with first:
        while first.poll() is None and not list(output.glob("videos/*/*.parquet")):
            with suppress(subprocess.TimeoutExpired):  # to look all the time would take it its processor
                first.wait(0.02)
        second = subprocess.run(
            command(videos, output), capture_output=True, text=True, timeout=200, check=False
        )
        kill_tree(first.pid)
        first.communicate()
    assert second.returncode == 2
    assert f"another run writes into {output}: run 20" in second.stderr
    assert f"process {first.pid} on " in second.stderr
    assert run(command(videos, output, "--limit", "8")) in (0, 1), "the lock of a dead run keeps nobody out"
    assert_promises(output)


def test_a_disk_that_is_full_costs_the_slice_at_work(videos: Path, tmp_path: Path) -> None:
    """On a disk of 600 kB, half of it taken by others at first."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    once = " ".join(command(videos, disk / "out"))
    script = f"""
        mount -t tmpfs -o size=600k tmpfs {disk} || exit 77
        head -c 300000 /dev/zero > {disk}/others
        {once}; echo "status $?"
        find {disk}/out -name '.*.parquet*' | wc -l
        rm {disk}/others
        mount -o remount,size=20m {disk}
        cp -r {disk}/out {copy}
        {once}; echo "status $?"
        cp -r {disk}/out {copy}-whole
    """
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("videos "), done.stderr
    assert [line for line in lines if line.startswith("status ") or line.isdigit()] == [
        "status 3",
        "0",
        "status 1",
    ]
    assert "mmeg annotate ended early: [Errno 28]" in done.stderr.replace("OSError: ", "")
    assert 0 < len(read(copy, "videos")) < NUM_VIDEOS
    assert_promises(copy)
    assert_promises(tmp_path / "copy-whole", num_inputs=NUM_VIDEOS)
