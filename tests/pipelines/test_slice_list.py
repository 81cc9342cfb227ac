from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from makers.published import failed, ok, publish_slice

from mmeg_model.media.source import VideoRef
from pipelines import slice_list
from pipelines.completed import Retake, read_completed
from pipelines.index_shards import Shard
from pipelines.output_folder import output_folder
from pipelines.slice_list import SliceList, read_list, remove_lists, write_list

VIDEOS = [VideoRef(f"gs://bucket/{number}.mp4", str(number)) for number in range(25)]
ODD = [VideoRef("/caf\udce9.mp4", "1"), VideoRef("/né\u00e9.mp4", None)]


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
    assert (back.video, back.status) == (shard, None)
    assert [back.done.status(video) for video in (good, bad, new)] == ["ok", None, None]
    remove_lists(output)
    assert output.files("slices") == {}
