"""Runs of `mmeg annotate` on a cluster say what a run on this machine says, whatever is killed meanwhile."""

import os
import signal
import subprocess
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen

import av
import numpy as np
import pytest
from makers.flink import FlinkCluster
from makers.promises import assert_promises
from makers.same_rows import assert_same_rows
from makers.shards import make_tar
from makers.tables import by_name, read
from makers.video import Recipe, make_video

Run = subprocess.CompletedProcess[str]
pytestmark = pytest.mark.timeout(
    900
)  # the cluster starts in the first test, and all its JVMs share the cores


def write_sound(path: Path, *, seconds: int) -> None:
    noise = np.random.default_rng(seconds)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(noise.normal(0, 3000, 16_000 * seconds).astype("<i2"))


def write_hungry_video(path: Path) -> None:
    """One whose decoder has to keep 16 frames of 6 MB."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 2048
        stream.options = {"preset": "ultrafast", "x264-params": "ref=16:bframes=0:keyint=100"}
        for k in range(24):
            frame = av.VideoFrame(2048, 2048, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([16 + k]) * plane.buffer_size)
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@contextmanager
def launched(words: list[str]) -> Iterator[Popen[str]]:
    """A launcher that is gone behind the block."""
    with Popen(words, stdout=PIPE, stderr=PIPE, text=True) as launcher:
        try:
            yield launcher
        finally:
            launcher.kill()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, sounds, a tar of both, a file that is no video, and a video that is too much for its decoder."""
    folder, loose = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("loose")
    make_video(folder, Recipe("seven.mp4", seconds=7))
    write_sound(folder / "seventy.wav", seconds=70)
    (folder / "broken.mp4").write_bytes(b"no video " * 100)
    write_hungry_video(folder / "hungry.mp4")
    packed = [make_video(loose, Recipe("three.mkv", seconds=3)), loose / "ten.wav"]
    write_sound(packed[1], seconds=10)
    make_tar(folder / "shard.tar", [(path.name, path.read_bytes()) for path in packed])
    return folder


def test_rows_are_those_of_a_local_run(
    archive: Path, cluster: FlinkCluster, annotate: Callable[..., Run], tmp_path: Path
) -> None:
    limits = ("--decode-memory-mib", 160)
    there, here = tmp_path / "there", tmp_path / "here"
    done = annotate(archive, "--output", there, *limits, "--num-shards", 2, *cluster.flags)
    assert done.returncode == 1, done.stderr + cluster.logs()
    assert annotate(archive, "--output", here, *limits).returncode == 1
    assert_promises(there, num_inputs=6)
    assert_same_rows(there, here)
    hungry = by_name(read(there, "videos"))["hungry.mp4"]
    assert (hungry["status"], hungry["clips"], hungry["failed_clips"]) == ("failed", 1, 1)
    (error,) = [row for row in read(there, "errors") if row["video_uri"].endswith("hungry.mp4")]
    assert (error["stage"], error["error"]) == ("decode", "MemoryLimitExceeded")
    assert cluster.failures(cluster.jobs()[-1]) == [], "the job had to start again"


def test_workers_and_task_managers_may_be_killed(
    cluster: FlinkCluster, annotate: Callable[..., Run], command: Callable[..., list[str]], tmp_path: Path
) -> None:
    sounds, there, here = tmp_path / "sounds", tmp_path / "there", tmp_path / "here"
    sounds.mkdir()
    for number in range(8):
        write_sound(sounds / f"{number}.wav", seconds=60 + number)
    first = cluster.task_managers[0]

    def is_decoding() -> bool:
        jobs = [job for job in cluster.jobs() if job["state"] == "RUNNING"]
        return bool(jobs) and cluster.is_at_work(jobs[-1]) and len(cluster.workers(first)) > 1

    words = command(sounds, "--output", there, *cluster.flags)
    with launched(words) as launcher:
        cluster.wait_for("decoding", is_decoding)
        job = cluster.jobs()[-1]
        for worker in cluster.workers(first):
            with suppress(ProcessLookupError):  # a decoder that ended with its worker
                os.kill(worker, signal.SIGKILL)
        cluster.wait_for("the loss of the workers", lambda: len(cluster.failures(job)) >= 1)
        cluster.wait_for("decoding again", is_decoding)
        num_failures = len(cluster.failures(job))
        cluster.kill(first)
        cluster.add_task_manager()
        cluster.wait_for("the loss of the TaskManager", lambda: len(cluster.failures(job)) > num_failures)
        _, stderr = launcher.communicate(timeout=600)
    assert launcher.returncode == 0, stderr + cluster.logs()
    assert annotate(sounds, "--output", here).returncode == 0
    assert_promises(there, num_inputs=8)
    assert_same_rows(there, here)


def test_a_launcher_that_dies_in_its_third_slice_leaves_two(
    cluster: FlinkCluster, annotate: Callable[..., Run], command: Callable[..., list[str]], tmp_path: Path
) -> None:
    sounds, there, here = tmp_path / "sounds", tmp_path / "there", tmp_path / "here"
    sounds.mkdir()
    for number in range(3):
        write_sound(sounds / f"{number}.wav", seconds=2 + number)
    write_sound(sounds / "3.wav", seconds=20)
    words = command(sounds, "--output", there, "--slice-videos", 1, *cluster.flags)
    num_jobs = len(cluster.jobs())
    with launched(words) as launcher:
        # The first job is the one that asks a worker what it is.
        cluster.wait_for("the third slice", lambda: len(cluster.jobs()) == num_jobs + 4)
        launcher.kill()
        launcher.communicate()
    names = {Path(row["video_uri"]).name for row in read(there, "videos")}
    assert names >= {"0.wav", "1.wav"}
    done = annotate(sounds, "--output", there, *cluster.flags)
    assert done.returncode == 0, done.stderr + cluster.logs()
    assert "done before: 2 ok" in done.stdout or "done before: 3 ok" in done.stdout, done.stdout
    assert annotate(sounds, "--output", here).returncode == 0
    assert_promises(there, num_inputs=4)
    assert_same_rows(there, here)


def test_an_interrupted_launcher_cancels_its_job(
    cluster: FlinkCluster, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    write_sound(tmp_path / "long.wav", seconds=600)
    words = command(tmp_path / "long.wav", "--output", tmp_path / "out", *cluster.flags)
    num_jobs = len(cluster.jobs())
    with launched(words) as launcher:
        cluster.wait_for(
            "the job", lambda: len(cluster.jobs()) == num_jobs + 2 and cluster.is_at_work(cluster.jobs()[-1])
        )
        launcher.send_signal(signal.SIGINT)
        _, stderr = launcher.communicate(timeout=300)
    assert launcher.returncode == 130, stderr
    assert "interrupted: published slices stand" in stderr
    cluster.wait_for("its end", lambda: cluster.jobs()[-1]["state"] == "CANCELED")
    assert not list((tmp_path / "out").glob("*/run=*/*"))
