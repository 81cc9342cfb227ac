from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from makers.published import failed, ok, publish_slice

from mmeg_model.media.source import ParquetRow, VideoRef
from pipelines import slice_list
from pipelines.completed import read_completed
from pipelines.done_videos import Retake
from pipelines.index_shards import Shard
from pipelines.output_folder import output_folder
from pipelines.slice_list import SliceList, read_list, remove_lists, write_list

VIDEOS = [VideoRef(f"gs://bucket/{number}.mp4", str(number)) for number in range(25)]
ODD = [
    VideoRef("/caf\udce9.mp4", "1"),
    VideoRef("/né\u00e9.mp4", None),
    VideoRef("/s.tar", "1", "a.wav", 512, 9),
    VideoRef("/s.tar.gz", "1", "b.wav", 1024, 9, is_compressed=True),
    VideoRef("/s.parquet", "1", "c", parquet_row=ParquetRow(2, 3, "video.bytes")),
]
"""Every field of a reference differs in one of them."""


@pytest.mark.parametrize("most_in_graph", [0, 100])
def test_a_slice_is_the_same_in_the_graph_and_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_in_graph: int
) -> None:
    monkeypatch.setattr(slice_list, "MOST_IN_GRAPH", most_in_graph)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        videos = pipeline | SliceList(VIDEOS + ODD, output=str(tmp_path), name="run=1/videos-0")
        assert_that(videos, equal_to(VIDEOS + ODD))
    assert bool(output_folder(str(tmp_path)).files("slices")) == (most_in_graph == 0)


def test_a_graph_with_many_videos_stays_small(tmp_path: Path) -> None:
    many = [VideoRef(f"gs://bucket/{number}.mp4", str(number)) for number in range(20_000)]
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | SliceList(many, output=str(tmp_path), name="run=1/videos-0")
    assert len(pipeline.to_runner_api().SerializeToString()) < 100_000


def test_a_shard_comes_back_with_what_of_it_is_done(tmp_path: Path) -> None:
    shard = VideoRef("/s.tar", "7")
    good, bad, new = (VideoRef("/s.tar", "7", f"{name}.mp4") for name in ("good", "bad", "new"))
    publish_slice(tmp_path, [ok(good), failed(bad), failed(shard)])
    output = output_folder(str(tmp_path))
    completed = read_completed(output, retake=Retake(failed=True))
    write_list(output, "slices/run=1/shards-0.parquet", [Shard.of(shard, completed)])
    (back,) = read_list(output, "slices/run=1/shards-0.parquet")
    assert isinstance(back, Shard)
    assert (back.video, back.status, back.has_row) == (shard, None, True)
    assert [back.done.status(video) for video in (good, bad, new)] == ["ok", None, None]
    remove_lists(output)
    assert output.files("slices") == {}


def test_a_shard_of_which_much_is_done_takes_no_room_in_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slice_list, "MOST_IN_GRAPH", 5)
    publish_slice(tmp_path, [ok(VideoRef("/s.tar", "7", f"{number}.mp4")) for number in range(5)])
    shard = Shard.of(VideoRef("/s.tar", "7"), read_completed(output_folder(str(tmp_path))))
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | SliceList([shard], output=str(tmp_path), name="run=1/shards-0")
    assert output_folder(str(tmp_path)).files("slices")
