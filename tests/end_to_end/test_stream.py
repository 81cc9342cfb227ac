"""Streams on Prism: whatever is delivered again, late or broken, each video stands in the tables once."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.utils.timestamp import Timestamp
from makers.buckets import LOCAL_BUCKET, Proxy
from makers.notifications import Message, finalized
from makers.promises import assert_promises
from makers.tables import by_name, read
from makers.video import Recipe, make_video

from mmeg_model.media.decoders import DecoderLimits
from pipelines.decode_clips import DecoderPool
from pipelines.find_videos import Found
from pipelines.index_shards import shard_reading
from pipelines.inference import ClipModelHandler
from pipelines.notifications import read_notification
from pipelines.outcomes import RunConstants
from pipelines.stream import AnnotateStream, StreamWindows

# Building Prism takes minutes, once.
pytestmark = pytest.mark.timeout(1200)

CONSTANTS = RunConstants("run-1", "a-model", "m" * 64, "s" * 64, "{}", "0.1.0", keeps_versions=True)
SECONDS_BETWEEN = 0.2


def found_in(message: Message) -> Iterator[Found]:
    found = read_notification(*message)
    if found is not None:
        yield found


@contextlib.contextmanager
def decoder_pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(2, DecoderLimits(deadline_seconds=60, memory_bytes=1 << 30))
    try:
        yield pool
    finally:
        pool.close()


def run_stream(messages: Sequence[tuple[Timestamp, Message]], output: Path, flags: Sequence[str]) -> None:
    """Messages arrive one by one, with the event times given; the watermark follows the greatest."""
    start = Timestamp.now()
    with decoder_pool() as pool:
        pipeline = beam.Pipeline(options=PipelineOptions([*flags, "--streaming"]))
        _ = (
            pipeline
            | "Messages"
            >> PeriodicImpulse(
                start_timestamp=start,
                stop_timestamp=start + SECONDS_BETWEEN * len(messages),
                fire_interval=SECONDS_BETWEEN,
                data=list(messages),
            )
            | "Read" >> beam.FlatMap(found_in).with_output_types(Found)
            | "Stream"
            >> AnnotateStream(
                pool=pool,
                handler=ClipModelHandler(bundle=None, device="cpu", tasks=("emotion",), batch_size=8),
                reading=shard_reading(bytes_column=None, key_column=None),
                window_ms=6000,
                output=str(output),
                num_shards=2,
                constants=CONSTANTS,
                windows=StreamWindows(early_seconds=1),
            )
        )
        pipeline.run().wait_until_finish()


def test_delivered_twice_late_and_broken_each_video_stands_once(
    buckets: Proxy, tmp_path: Path, prism_flags: tuple[str, ...]
) -> None:
    names = [f"{number:02d}.mp4" for number in range(10)]
    for number, name in enumerate(names):
        # Three minutes are four spans, which come to the publisher one by one.
        make_video(buckets.folder, Recipe(name, seconds=185 if number == 3 else 1, width=64, height=48))
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
    run_stream([*once, *reversed(once)], tmp_path, prism_flags)

    assert_promises(tmp_path, num_inputs=len(names) + 1)
    videos = by_name(read(tmp_path, "videos"))
    assert {name: (row["status"], row["clips"]) for name, row in videos.items()} == {
        **dict.fromkeys(names, ("ok", 1)), "03.mp4": ("ok", 31), "broken.mp4": ("failed", 0),
    }  # fmt: skip
    assert len(read(tmp_path, "annotations")) == len(names) - 1 + 31
    assert [row["message"][:50] for row in read(tmp_path, "errors") if row["video_uri"] is None] == [
        "a message that is no notification of Cloud Storage"
    ]
    windows = {path.name.partition("-shard")[0] for path in (tmp_path / "videos").rglob("*.parquet")}
    assert windows == {
        f"slice-000000-window-20270115T{time}Z" for time in ("080000", "081000", "082000", "085000")
    }


def test_a_folder_is_watched_until_interrupted(tmp_path: Path, prism_flags: tuple[str, ...], mmeg) -> None:
    folder, output = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    make_video(folder, Recipe("a.mp4", seconds=2))
    settled = time.time() - 60
    os.utime(folder / "a.mp4", (settled, settled))
    command = [sys.executable, "-m", "pipelines.cli", "annotate", str(folder), "--output", str(output)]
    with subprocess.Popen(
        [*command, "--streaming", "--poll-seconds", "1", *prism_flags], stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not list(output.glob("videos/*/*.parquet")):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130, said
    assert "interrupted: what was published stands" in said
    assert_promises(output, num_inputs=1)
    again = mmeg("annotate", folder, "--output", output)
    assert (again.returncode, again.stdout.splitlines()[0]) == (
        0, "videos    0: 0 ok, 0 partial, 0 failed; done before: 1 ok",
    ), again.stderr  # fmt: skip
