from pathlib import Path

import pytest
from makers.published import ok, publish_slice

from mmeg_model.media.source import VideoRef
from pipelines.find_videos import Found
from pipelines.local_run import LocalRun, _largest_first
from pipelines.options import AnnotateOptions
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
