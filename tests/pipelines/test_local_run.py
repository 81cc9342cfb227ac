import itertools
import wave
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DirectOptions
from makers.promises import assert_promises
from makers.published import ok, publish_slice

from mmeg_model.media.source import VideoRef
from pipelines import slice_list
from pipelines.find_videos import Found, find_videos
from pipelines.local_run import LocalRun, _largest_first
from pipelines.metrics import DECODED_CLIPS
from pipelines.options import AnnotateOptions
from pipelines.slice_list import write_list
from pipelines.summary import RunSummary
from pipelines.table_files import own_files
from pipelines.tables import Failure


def test_the_largest_videos_come_first_and_those_not_found_not_at_all() -> None:
    missing = Found(VideoRef("/c"), failure=Failure("find", "FileNotFoundError", "no such file"))
    items = [
        Found(VideoRef("/a", "1"), 5),
        missing,
        Found(VideoRef("/b", "1"), 9),
        Found(VideoRef("/d", "1"), 5),
    ]
    assert [video.location for video in _largest_first(items)] == ["/b", "/a", "/d"]


def test_a_slice_that_workers_published_elsewhere_is_told_of(tmp_path: Path) -> None:
    run = LocalRun.of(AnnotateOptions([], output=str(tmp_path / "out"), device="cpu"))
    with pytest.raises(
        OSError, match=r"not in .*/out as it is seen here: --output must be a folder that .* share"
    ):
        run._check_published(3)
    publish_slice(tmp_path / "out", [ok(VideoRef("/a", "1"))], run_id=run.constants.run_id, slice_index=3)
    run._check_published(3)


def test_a_slice_that_is_over_leaves_the_lists_of_others_and_takes_the_next_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slice_list, "MOST_IN_GRAPH", 0)
    (tmp_path / "a.wav").write_bytes(b"no sound")
    run = LocalRun.of(AnnotateOptions([], output=str(tmp_path / "out"), device="cpu"))
    of_other = f"slices/run={run.constants.run_id}/videos-000006.parquet"
    write_list(run.output, of_other, [VideoRef("/b", "1")])
    summary = RunSummary()
    with closing(run.pool):
        run.run(find_videos([str(tmp_path)]), summary, slice_indices=itertools.count(7))
    assert summary.num_videos == {"failed": 1}
    assert list(run.output.files("slices")) == [of_other]
    (stem,) = own_files(run.output, "videos")
    assert stem.startswith(f"run={run.constants.run_id}/slice-000007-")


def test_two_threads_share_decoders_and_numbers_and_each_counts_what_it_did(tmp_path: Path) -> None:
    options = AnnotateOptions([], output=str(tmp_path / "out"), device="cpu", num_decoders=2, slice_videos=2)
    run = LocalRun.of(options)
    run.handler.load_model()
    slice_indices = itertools.count()
    summaries = [RunSummary(), RunSummary()]
    num_workers: dict[int, int] = {}

    def annotate(seconds: int) -> None:
        found = find_videos([str(tmp_path / f"{seconds} s")])
        beside = run.beside_another(num_spare_decoders=seconds // 12)
        beside.run(found, summaries[seconds // 6 - 1], slice_indices=slice_indices)
        num_workers[seconds] = beside.options.view_as(DirectOptions).direct_num_workers

    for seconds in (6, 12):
        (tmp_path / f"{seconds} s").mkdir()
        for number in range(6):
            with wave.open(str(tmp_path / f"{seconds} s" / f"{number}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16_000)
                file.writeframes(bytes(2 * 16_000 * seconds))
    with closing(run.pool), ThreadPoolExecutor(2) as threads:
        list(threads.map(annotate, (6, 12)))
    counted = [(summary.num_videos["ok"], summary.metrics.of(DECODED_CLIPS)) for summary in summaries]
    assert counted == [(6, 6), (6, 12)]
    assert num_workers == {6: 2, 12: 1}, "a worker holds a decoder, and one is spared"
    numbers = [stem.partition("slice-")[2][:6] for stem in own_files(run.output, "videos")]
    assert numbers == [f"{number:06d}" for number in range(6)]
    assert_promises(tmp_path / "out", num_inputs=12)
