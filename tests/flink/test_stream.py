"""Streams on a Flink cluster: whatever is killed, late or delivered again, each video stands in the tables once."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import pyarrow.parquet as pq
import pytest
from apache_beam.utils.timestamp import Timestamp
from makers.buckets import LOCAL_BUCKET, Proxy
from makers.flink import FlinkCluster, free_ports
from makers.notifications import finalized
from makers.promises import assert_promises
from makers.streams import start_stream
from makers.subscriptions import subscription
from makers.tables import by_name, read
from makers.video import Recipe, make_video

from mmeg_model.media.decoders import DecoderLimits
from mmeg_model.media.source import VideoRef, local_version
from pipelines.cluster_job import cancel_on_flink
from pipelines.decode_clips import DecoderPool
from pipelines.found import Found
from pipelines.runners import flink_stream_flags

pytestmark = pytest.mark.timeout(900)  # the cluster may start here, and its JVMs share the cores
CHECKPOINTS = "--checkpointing_interval=1000"


def num_videos(output: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # replaced at this moment
        return sum(pq.read_metadata(path).num_rows for path in output.glob("videos/*/*.parquet"))
    return 0


@pytest.fixture
def job_of_test(cluster: FlinkCluster) -> Iterator[Callable[[], dict]]:
    """The newest job, which is cancelled behind the test."""
    yield lambda: cluster.jobs()[-1]
    job = cluster.jobs()[-1]
    cancel_on_flink(cluster.master, job["name"])
    cluster.wait_for("the end of the job", lambda: cluster.jobs()[-1]["state"] in ("CANCELED", "FAILED"))


def test_a_task_manager_is_killed_while_files_arrive_twice_and_late(
    cluster: FlinkCluster, job_of_test: Callable[[], dict], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    names = [f"{number:02d}.mp4" for number in range(13)]
    found = []
    for number, name in enumerate(names):
        # Two minutes are three spans, which come to the publisher one by one.
        seconds = 125 if number in (3, 9) else 1
        path = make_video(tmp_path, Recipe(name, seconds=seconds, width=64, height=48))
        found.append(Found(VideoRef(str(path), local_version(path.stat()))))
    start = Timestamp.now() - 4 * 3600  # on Flink nothing comes of event times that lie ahead
    on_time = [(start + 200 * number, item) for number, item in enumerate(found[:8])]
    late = [(start + 30, item) for item in found[8:12]]  # an hour behind the watermark
    second_look = [(time + 1, item) for time, item in [*on_time, *late]]
    last = [(start + 3600, found[12]), (start + 3601, found[12])]
    arrivals = [*on_time, (start + 3600, found[0]), *late, *second_look, *reversed(second_look), *late, *last]

    flags = (*cluster.flags, CHECKPOINTS, *flink_stream_flags([]), "--parallelism=2")
    pool = DecoderPool(2, DecoderLimits(deadline_seconds=60, memory_bytes=1 << 30))
    start_stream(arrivals, output, flags, pool=pool, seconds_between=0.7)
    cluster.wait_for("the first rows", lambda: num_videos(output))
    assert num_videos(output) < len(names), "files still arrive"
    cluster.kill(cluster.task_managers[0])
    cluster.add_task_manager()
    # The job does not end by itself: Flink holds the end of a source back whose event times were given.
    cluster.wait_for("the last rows", lambda: num_videos(output) >= len(names))

    assert cluster.failures(job_of_test()), "the job has begun again from a checkpoint"
    assert_promises(output, num_inputs=len(names))
    assert {name: (row["status"], row["clips"]) for name, row in by_name(read(output, "videos")).items()} == {
        name: ("ok", 21 if number in (3, 9) else 1) for number, name in enumerate(names)
    }


def test_notifications_are_pulled_and_acknowledged(
    cluster: FlinkCluster,
    command: Callable[..., list[str]],
    job_of_test: Callable[[], dict],
    buckets: Proxy,
    go: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "out"
    make_video(buckets.folder, Recipe("a.mp4", seconds=2))
    poison = ({}, b"poison")
    with subscription(monkeypatch) as messages:
        for message in [finalized(LOCAL_BUCKET, "a.mp4"), poison, finalized(LOCAL_BUCKET, "gone.mp4")] * 2:
            messages.publish(message)
        (port,) = free_ports(1)
        environment = {**messages.environment, "STORAGE_EMULATOR_HOST": buckets.address}
        cluster.start_pool("pool-of-subscriber", f"localhost:{port}", environment)
        streaming = ("--streaming", "--subscription", messages.path, CHECKPOINTS)
        one_worker = (*cluster.flags, f"--environment_config=localhost:{port}", "--parallelism=1")
        with Popen(command("--output", output, *streaming, *one_worker), stderr=PIPE, text=True) as launcher:
            try:
                cluster.wait_for("the rows", lambda: num_videos(output) == 2)
                num_unacknowledged = messages.unacknowledged()
                launcher.send_signal(signal.SIGINT)
                _, said = launcher.communicate(timeout=100)
            finally:
                launcher.kill()
    cluster.wait_for("its end", lambda: job_of_test()["state"] == "CANCELED")
    cluster.kill("pool-of-subscriber")
    assert launcher.returncode == 130, said
    assert num_unacknowledged == 0
    assert_promises(output, num_inputs=2)
    assert {name: row["status"] for name, row in by_name(read(output, "videos")).items()} == {
        "a.mp4": "ok", "gone.mp4": "failed",
    }  # fmt: skip
    assert sorted(row["error"] for row in read(output, "errors")) == ["BadNotification", "NotFound"]


def test_a_folder_is_watched_until_interrupted(
    cluster: FlinkCluster,
    command: Callable[..., list[str]],
    job_of_test: Callable[[], dict],
    tmp_path: Path,
) -> None:
    folder, output = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    make_video(folder, Recipe("a.mp4", seconds=2))
    hidden = make_video(tmp_path, Recipe("b.mp4", seconds=2))
    num_jobs = len(cluster.jobs())
    words = command(
        folder, "--output", output, "--streaming", "--poll-seconds=1", CHECKPOINTS, *cluster.flags
    )
    with Popen(words, stderr=PIPE, text=True) as launcher:
        try:
            # The first job is the one that asks a worker what it is.
            cluster.wait_for("the stream", lambda: len(cluster.jobs()) == num_jobs + 2)
            os.rename(hidden, folder / "b.mp4")
            cluster.wait_for("both rows", lambda: num_videos(output) == 2)
            launcher.send_signal(signal.SIGINT)
            _, said = launcher.communicate(timeout=100)
        finally:
            launcher.kill()
    assert (launcher.returncode, "Traceback" in said) == (130, False), said
    cluster.wait_for("its end", lambda: job_of_test()["state"] == "CANCELED")
    assert_promises(output, num_inputs=2)
