from mmeg_model.media.source import VideoRef
from pipelines.find_videos import Found
from pipelines.local_run import _largest_first
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
