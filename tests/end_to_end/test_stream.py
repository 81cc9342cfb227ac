"""Streams on Prism: whatever is delivered again, late or broken, each video stands in the tables once."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from apache_beam.utils.timestamp import Timestamp
from makers.buckets import LOCAL_BUCKET, Proxy
from makers.notifications import Message, finalized
from makers.promises import assert_promises
from makers.streams import Arrival, start_stream
from makers.subscriptions import subscription
from makers.tables import by_name, read
from makers.video import Recipe, make_video

from mmeg_model.media.decoders import DecoderLimits
from pipelines.decode_clips import DecoderPool
from pipelines.notifications import read_notification

# Building Prism takes minutes, once.
pytestmark = pytest.mark.timeout(1200)


def found_in(event_time: Timestamp, message: Message) -> list[Arrival]:
    found = read_notification(*message)
    return [] if found is None else [(event_time, found)]


@contextlib.contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], is_so: Callable[[], object]) -> None:
    while not is_so():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def interrupted(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    return process.communicate()[1]


def num_videos(output: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in output.glob("videos/*/*.parquet"))


def test_delivered_twice_late_and_broken_each_video_stands_once(
    buckets: Proxy, tmp_path: Path, prism_flags: tuple[str, ...]
) -> None:
    names = [f"{number:02d}.mp4" for number in range(10)]
    for number, name in enumerate(names):
        # A long one is of more than five spans, which come to the publisher one by one.
        make_video(buckets.folder, Recipe(name, seconds=305 if number == 3 else 1, width=64, height=48))
    (buckets.folder / "broken.mp4").write_bytes(b"no video")
    start = Timestamp.of(1_800_000_000)  # 2027-01-15T08:00:00Z
    on_time, late = names[:6], [*names[6:], "broken.mp4"]
    once = [
        *((start + 240 * number, finalized(LOCAL_BUCKET, name)) for number, name in enumerate(on_time)),
        (start + 3000, ({"eventType": "OBJECT_FINALIZE"}, b"poison")),
        # An hour behind the watermark: late by more than a window.
        *((start + 60, finalized(LOCAL_BUCKET, name)) for name in late),
        (start + 7200, finalized(LOCAL_BUCKET, names[0], eventType="OBJECT_METADATA_UPDATE")),
    ]
    arrivals = [arrival for message in [*once, *reversed(once)] for arrival in found_in(*message)]
    pool = DecoderPool(2, DecoderLimits(deadline_seconds=60, memory_bytes=1 << 30))
    with contextlib.closing(pool):
        start_stream(arrivals, tmp_path, prism_flags, pool=pool, seconds_between=0.2).wait_until_finish()
    assert_promises(tmp_path, num_inputs=len(names) + 1)
    videos = by_name(read(tmp_path, "videos"))
    assert {name: (row["status"], row["clips"]) for name, row in videos.items()} == {
        **dict.fromkeys(names, ("ok", 1)), "03.mp4": ("ok", 51), "broken.mp4": ("failed", 0),
    }  # fmt: skip
    assert len(read(tmp_path, "annotations")) == len(names) - 1 + 51
    assert [row["message"][:50] for row in read(tmp_path, "errors") if row["video_uri"] is None] == [
        "a message that is no notification of Cloud Storage"
    ]
    windows = {path.name.partition("-shard")[0] for path in (tmp_path / "videos").rglob("*.parquet")}
    assert windows == {
        f"slice-000000-window-20270115T{time}Z" for time in ("080000", "081000", "082000", "085000")
    }


def test_notifications_of_a_bucket_are_annotated(
    buckets: Proxy, tmp_path: Path, go: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the runner of Beam that reads from the fake."""
    output = tmp_path / "out"
    make_video(buckets.folder, Recipe("a.mp4", seconds=2))
    with subscription(monkeypatch) as messages:
        for message in [
            finalized(LOCAL_BUCKET, "a.mp4"),
            ({}, b"poison"),
            finalized(LOCAL_BUCKET, "gone.mp4"),
        ] * 2:
            messages.publish(message)
        streaming = ("--streaming", "--subscription", messages.path, "--runner=BundleBasedDirectRunner")
        with running("annotate", "--output", output, *streaming, "--project=my-project") as process:
            until(process, lambda: output.is_dir() and num_videos(output) == 2)
            said = interrupted(process)
    assert process.returncode == 130, said
    assert_promises(output, num_inputs=2)
    assert {name: row["status"] for name, row in by_name(read(output, "videos")).items()} == {
        "a.mp4": "ok", "gone.mp4": "failed",
    }  # fmt: skip
    assert sorted(row["error"] for row in read(output, "errors")) == ["BadNotification", "NotFound"]


def test_a_folder_is_watched_until_interrupted(tmp_path: Path, prism_flags: tuple[str, ...], mmeg) -> None:
    folder, output = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    make_video(folder, Recipe("a.mp4", seconds=2))
    settled = time.time() - 60
    os.utime(folder / "a.mp4", (settled, settled))
    polling = ("--streaming", "--poll-seconds", "1")
    with running("annotate", folder, "--output", output, *polling, *prism_flags) as process:
        until(process, lambda: output.is_dir() and num_videos(output) == 1)
        said = interrupted(process)
    assert process.returncode == 130, said
    assert "interrupted: what was published stands" in said
    assert_promises(output, num_inputs=1)
    again = mmeg("annotate", folder, "--output", output)
    assert (again.returncode, again.stdout.splitlines()[0]) == (
        0, "videos    0: 0 ok, 0 partial, 0 failed; done before: 1 ok",
    ), again.stderr  # fmt: skip
