"""The gate and the windows of a stream, on the runner that plays a script of events and watermarks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import TimestampedValue
from makers.promises import assert_promises
from makers.published import constants, failed, ok, publish_slice
from makers.tables import read

from mmeg_model.media.source import VideoRef
from pipelines.decode_clips import PARTS
from pipelines.found import Found
from pipelines.index_shards import Shard
from pipelines.once import SHARDS, PassOnce, SortOut, gate_key
from pipelines.panes import PublishPanes
from pipelines.stream import StreamWindows
from pipelines.tables import Failure, VideoPart

OPTIONS = PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"])
WINDOW, DAY = 600, 86_400


def remote(name: str, generation: str = "1") -> Found:
    return Found(VideoRef(f"gs://a-bucket/{name}", generation))


def local(name: str, version: str = "7-1") -> Found:
    return Found(VideoRef(f"/v/{name}", version))


def at(seconds: float, *elements: Any) -> list[TimestampedValue]:
    return [TimestampedValue(element, seconds) for element in elements]


def named(found: Found, timestamp: Any = beam.DoFn.TimestampParam) -> tuple[str, str | None, float]:
    assert found.video
    return found.video.location, found.video.version, float(timestamp)


def assert_passes(script: test_stream.TestStream, expected: list[tuple[str, str, float]]) -> None:
    """What the gate lets through: name, version and event time."""
    with beam.Pipeline(options=OPTIONS) as pipeline:
        passed = (
            pipeline
            | script
            | "Key" >> beam.Map(lambda found: (gate_key(found), found)).with_output_types(tuple[bytes, Found])
            | "Once" >> beam.ParDo(PassOnce()).with_output_types(Found)
            | "Named" >> beam.Map(named)
        )
        assert_that(passed, equal_to(expected))


def test_what_comes_again_does_not_pass_again_however_late() -> None:
    a, b = remote("a.mp4"), remote("b.mp4")
    script = (
        test_stream.TestStream()
        .add_elements(at(10, a, a))
        .advance_watermark_to(3 * WINDOW)
        .add_elements(at(10, a, b))
        .advance_watermark_to(40 * DAY)
        .add_elements(at(40 * DAY, a, b))
        .advance_watermark_to_infinity()
    )
    assert_passes(script, [("gs://a-bucket/a.mp4", "1", 10.0), ("gs://a-bucket/b.mp4", "1", 10.0)])


def test_a_new_generation_passes() -> None:
    script = (
        test_stream.TestStream()
        .add_elements(at(10, remote("a.mp4", "2"), remote("a.mp4", "1"), remote("a.mp4", "2")))
        .advance_watermark_to_infinity()
    )
    assert_passes(script, [("gs://a-bucket/a.mp4", "1", 10.0), ("gs://a-bucket/a.mp4", "2", 10.0)])


def test_a_local_file_passes_when_a_second_poll_finds_it_unchanged() -> None:
    script = (
        test_stream.TestStream()
        .add_elements(at(30, local("a.mp4"), local("grows.mp4", "1-1")))
        .add_elements(at(30, local("a.mp4")))  # the same poll, delivered again
        .add_elements(at(60, local("grows.mp4", "2-2")))
        .add_elements(at(90, local("a.mp4"), local("grows.mp4", "3-3")))
        .add_elements(at(120, local("a.mp4"), local("grows.mp4", "3-3")))
        .advance_watermark_to_infinity()
    )
    assert_passes(script, [("/v/a.mp4", "7-1", 90.0), ("/v/grows.mp4", "3-3", 120.0)])


def test_the_same_failure_of_no_video_passes_once() -> None:
    poison = [Found(None, failure=Failure("find", "BadNotification", text)) for text in ("a", "b", "a")]
    assert gate_key(poison[0]) == gate_key(poison[2]) != gate_key(poison[1])


def test_what_an_earlier_run_has_done_is_left_out_and_what_this_run_has_done_is_not_looked_at(
    tmp_path: Path,
) -> None:
    before, own, new = remote("before.mp4").video, remote("own.mp4").video, remote("new.mp4").video
    assert before
    assert own
    assert new
    publish_slice(tmp_path, [ok(before)], run_id="run-1")
    publish_slice(tmp_path, [ok(own)], run_id="run-2")
    shard = VideoRef("gs://a-bucket/1.tar", "1")
    poison = Failure("find", "BadNotification", "poison")
    found = [*map(Found, (before, own, new)), Found(shard, is_shard=True), Found(None, failure=poison)]

    def members(item: Shard) -> Iterator[str]:
        yield item.video.location

    with beam.Pipeline("FnApiRunner") as pipeline:
        sorted_out = (
            pipeline
            | beam.Create(found)
            | beam.ParDo(SortOut(output=str(tmp_path), run_id="run-2")).with_outputs(
                SHARDS, PARTS, main="videos"
            )
        )
        assert_that(sorted_out["videos"], equal_to([own, new]), label="videos")
        assert_that(sorted_out[SHARDS] | beam.FlatMap(members), equal_to([shard.location]), label="shards")
        assert_that(sorted_out[PARTS], equal_to([VideoPart(None, failures=(poison,))]), label="parts")


@pytest.mark.parametrize("lateness", [0, 3 * WINDOW, DAY - WINDOW])
def test_a_window_grows_by_what_is_late_and_each_video_stands_once(tmp_path: Path, lateness: int) -> None:
    videos = [VideoRef(f"gs://a-bucket/{name}.mp4", "1") for name in "abcd"]
    early, late, later = ok(videos[0]), ok(videos[1]), failed(videos[2])
    script = (
        test_stream.TestStream()
        .add_elements(at(10, early))
        .advance_processing_time(31)
        .advance_watermark_to(WINDOW + lateness)
        .add_elements(at(20, late))
        .add_elements(at(WINDOW + 5, ok(videos[3])))
        .add_elements(at(30, later))
        .advance_watermark_to_infinity()
    )
    with beam.Pipeline(options=OPTIONS) as pipeline:
        _ = (
            pipeline
            | script
            | StreamWindows().into()
            | PublishPanes(output=str(tmp_path), num_shards=1, constants=constants("run-1"))
        )
    assert {path.name for path in (tmp_path / "videos").rglob("*.parquet")} == {
        f"slice-000000-window-19700101T00{minutes}00Z-shard-00000-of-00001.parquet"
        for minutes in ("00", "10")
    }
    assert sorted(row["video_uri"] for row in read(tmp_path, "videos")) == [v.location for v in videos]
    assert_promises(tmp_path, num_inputs=4)


def test_windows_have_positive_durations() -> None:
    with pytest.raises(ValueError, match=r"self.early_seconds = 0"):
        StreamWindows(early_seconds=0)
