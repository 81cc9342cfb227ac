from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from makers.published import failed, ok, publish_slice

from mmeg_model.media.source import VideoRef, changed_ns
from pipelines.completed import NOTHING_COMPLETED, read_completed
from pipelines.found import Found
from pipelines.output_folder import LocalFolder
from pipelines.tables import Failure
from pipelines.watch import NewVideos, is_settled, watch

NOW_NS = 1_800_000_000_000_000_000
LONG_AGO = NOW_NS - 3_600_000_000_000


def local(name: str, changed: int = LONG_AGO, size: int = 7) -> Found:
    return Found(VideoRef(f"/v/{name}", f"{size}-{changed}"), size)


def taken(new: NewVideos, *found: Found) -> list[str]:
    return [item.video.uri for item in new.take(found, now_ns=NOW_NS) if item.video]


def test_a_file_is_taken_when_two_polls_find_it_unchanged_and_then_never_again() -> None:
    new = NewVideos(NOTHING_COMPLETED)
    assert taken(new, local("a.mp4")) == []
    assert new.num_waiting == 1
    assert taken(new, local("a.mp4"), local("b.mp4")) == ["/v/a.mp4"]
    assert taken(new, local("a.mp4"), local("b.mp4")) == ["/v/b.mp4"]
    assert taken(new, local("a.mp4"), local("b.mp4")) == []
    assert new.num_waiting == 0


def test_a_file_that_grows_is_not_taken_until_it_rests() -> None:
    new = NewVideos(NOTHING_COMPLETED)
    assert [taken(new, local("a.mp4", size=size)) for size in (1, 2, 3, 3)] == [[], [], [], ["/v/a.mp4"]]


def test_a_file_that_went_and_came_again_must_rest_again() -> None:
    new = NewVideos(NOTHING_COMPLETED)
    assert [taken(new, *found) for found in ([local("a.mp4")], [], [local("a.mp4")])] == [[], [], []]


def test_a_file_that_was_changed_a_moment_ago_waits() -> None:
    new = NewVideos(NOTHING_COMPLETED)
    fresh = local("a.mp4", changed=NOW_NS - 4_999_999_999)
    assert [taken(new, fresh) for _ in range(3)] == [[], [], []]
    assert is_settled(VideoRef("/a", f"7-{NOW_NS - 5_000_000_000}"), now_ns=NOW_NS)
    assert is_settled(VideoRef("/a", f"7-{NOW_NS + 1}"), now_ns=NOW_NS), "the clock of a server may be ahead"


def test_an_object_is_whole_when_it_is_there() -> None:
    new = NewVideos(NOTHING_COMPLETED)
    found = Found(VideoRef("gs://b/a.mp4", str(NOW_NS)))
    assert taken(new, found, found) == ["gs://b/a.mp4"]


def test_a_new_version_is_new_and_an_old_one_that_comes_back_is_not() -> None:
    new = NewVideos(NOTHING_COMPLETED)
    first, second = local("a.mp4"), local("a.mp4", changed=LONG_AGO + 1)
    polls = [first, first, second, second, first, first, second]
    assert [taken(new, found) for found in polls] == [[], ["/v/a.mp4"], [], ["/v/a.mp4"], [], [], []]


def test_what_an_earlier_run_has_done_in_any_version_is_not_new(tmp_path: Path) -> None:
    first, second = local("a.mp4"), local("a.mp4", changed=LONG_AGO + 1)
    assert first.video
    assert second.video
    publish_slice(tmp_path, [ok(first.video)], run_id="run-1")
    publish_slice(tmp_path, [failed(second.video)], run_id="run-2", keeps_versions=True)
    new = NewVideos(read_completed(LocalFolder(tmp_path)))
    third = local("a.mp4", changed=LONG_AGO + 2)
    assert [taken(new, first, second, third) for _ in range(2)] == [[], ["/v/a.mp4"]]


def test_what_cannot_be_found_is_passed_over() -> None:
    failure = Failure("find", "FileNotFoundError", "gone")
    gone = [Found(VideoRef("/v/a.mp4"), failure=failure), Found(None, failure=failure)]
    assert taken(NewVideos(NOTHING_COMPLETED), *gone) == []


class RecordingRun:
    """Takes slices of two, as a run does."""

    def __init__(self) -> None:
        self.slices: list[tuple[int, list[str]]] = []

    def run(self, found: Iterable[Found], *_: object, first_slice: int, **__: object) -> int:
        names = [item.video.uri for item in found if item.video]
        for start in range(0, len(names), 2):
            self.slices.append((first_slice + start // 2, names[start : start + 2]))
        return first_slice + -(-len(names) // 2)


def watched(polls: list[list[Found]], *, idle_polls: int) -> tuple[RecordingRun, list[float]]:
    run, waits = RecordingRun(), list[float]()
    remaining: Iterator[list[Found]] = iter(polls)
    watch(
        run,  # type: ignore[arg-type]
        lambda: next(remaining),
        NOTHING_COMPLETED,
        None,  # type: ignore[arg-type]
        poll_seconds=10,
        idle_polls=idle_polls,
        on_published=lambda _: None,
        wait=waits.append,
    )
    return run, waits


def test_slices_are_numbered_over_all_polls_and_the_end_comes_behind_idle_ones() -> None:
    a, b, c = (Found(VideoRef(f"gs://b/{name}.mp4", "1")) for name in "abc")
    run, waits = watched([[], [a, b, c], [a, b, c], [a, b, c]], idle_polls=2)
    assert run.slices == [(0, ["gs://b/a.mp4", "gs://b/b.mp4"]), (1, ["gs://b/c.mp4"])]
    assert len(waits) == 3, "the first poll was idle, but the second was not"
    assert waits == pytest.approx([10, 10, 10], abs=1)


def test_a_file_that_may_become_whole_is_waited_for() -> None:
    fresh = local("a.mp4")
    run, _ = watched([[fresh], [fresh], [fresh]], idle_polls=1)
    assert run.slices == [(0, ["/v/a.mp4"])]


def test_the_time_of_change_is_read_back_from_the_version() -> None:
    assert changed_ns("7-1800000000000000001") == 1_800_000_000_000_000_001
