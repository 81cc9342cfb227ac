import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from makers.published import failed, ok, publish_slice

import pipelines.lanes
from mmeg_model.media.source import VideoRef, changed_ns
from pipelines.completed import NOTHING_COMPLETED, read_completed
from pipelines.found import Found
from pipelines.lanes import LONG_SOUND_BYTES, LONG_VIDEO_BYTES, Lanes, is_long
from pipelines.local_run import LocalRun
from pipelines.options import AnnotateOptions
from pipelines.output_folder import LocalFolder
from pipelines.slices import LOCAL_SLICES
from pipelines.summary import RunSummary
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


def test_what_there_is_no_room_for_is_taken_when_there_is() -> None:
    new = NewVideos(NOTHING_COMPLETED)
    found = [Found(VideoRef(f"gs://b/{name}.mp4", "1")) for name in "ab"]
    rooms = [iter([True, False]), iter([True])]
    takes = [list(new.take(found, now_ns=NOW_NS, has_room=lambda _: next(room))) for room in rooms]  # noqa: B023
    assert takes == [found[:1], found[1:]]
    assert new.num_waiting == 0


def obj(name: str, *, num_bytes: int = 7) -> Found:
    return Found(VideoRef(f"gs://b/{name}", "1"), num_bytes)


LONG = obj("long.mp4", num_bytes=LONG_VIDEO_BYTES + 1)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (LONG, True),
        (obj("a.mp4", num_bytes=LONG_VIDEO_BYTES), False),
        (obj("a.Opus", num_bytes=LONG_SOUND_BYTES + 1), True),
        (obj("a.opus", num_bytes=LONG_SOUND_BYTES), False),
        (replace(obj("a.tar"), is_shard=True), True),
    ],
)
def test_a_large_file_and_one_of_many_videos_are_long(item: Found, expected: bool) -> None:
    assert is_long(item) == expected


Annotate = Callable[[list[str]], object]


class Watched:
    """`watch` over a run that annotates nothing."""

    def __init__(self, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = LocalRun.of(AnnotateOptions([], output=str(output), device="cpu"))
        self._monkeypatch = monkeypatch
        self.slices: dict[int, list[str]] = {}
        """By their numbers."""
        self.poll_times: list[float] = []

    def __call__(
        self,
        polls: Sequence[Iterable[Found]],
        *,
        annotate: Annotate = lambda _: None,
        on_poll: Callable[[int], object] = lambda _: None,
        idle_polls: int = 1,
        poll_seconds: float = 0.0,
    ) -> None:
        """Find one list after another, and the last one ever after."""

        def poll() -> Iterable[Found]:
            self.poll_times.append(time.monotonic())
            on_poll(len(self.poll_times))
            return polls[min(len(self.poll_times), len(polls)) - 1]

        def run(
            _: LocalRun, items: list[Found], *__: object, slice_indices: Iterator[int], **___: object
        ) -> None:
            names = [item.video.uri for item in items if item.video]
            self.slices[next(slice_indices)] = names
            annotate(names)

        self._monkeypatch.setattr(LocalRun, "run", run)
        watch(
            self.run,
            poll,
            NOTHING_COMPLETED,
            RunSummary(),
            poll_seconds=poll_seconds,
            idle_polls=idle_polls,
            on_published=lambda _: None,
        )

    def are_decoders_closed(self) -> bool:
        return self.run.pool.shared()._is_closed


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(tmp_path / "out", monkeypatch)
    with closing(watched.run.pool):
        yield watched


def test_slices_are_numbered_over_all_polls_and_the_end_comes_behind_idle_ones(watched: Watched) -> None:
    a, b, c = obj("a.mp4"), obj("b.mp4"), obj("c.mp4")
    watched([[], [a, b], [a, b], [], [a, b, c]], idle_polls=3)
    assert watched.slices == {0: ["gs://b/a.mp4", "gs://b/b.mp4"], 1: ["gs://b/c.mp4"]}


def test_a_file_that_may_become_whole_is_waited_for(watched: Watched) -> None:
    fresh = local("a.mp4")
    watched([[fresh], [fresh], [fresh]])
    assert watched.slices == {0: ["/v/a.mp4"]}


def test_polls_are_not_closer_than_was_said(watched: Watched) -> None:
    watched([[]], idle_polls=3, poll_seconds=0.05)
    first, second, third = watched.poll_times
    assert second - first >= 0.05
    assert third - second >= 0.05


def test_what_is_short_overtakes_what_is_long_however_often_it_comes(watched: Watched) -> None:
    shorts = [obj(f"{number}.mp4") for number in range(3)]
    over: list[str] = []
    all_short_are_over = threading.Event()

    def annotate(names: list[str]) -> None:
        if names == ["gs://b/long.mp4"]:
            all_short_are_over.wait(60)
        over.extend(names)
        if len(over) == len(shorts):
            all_short_are_over.set()

    watched([[LONG], [LONG, shorts[0]], [LONG, *shorts[:2]], [LONG, *shorts]], annotate=annotate)
    assert over == ["gs://b/0.mp4", "gs://b/1.mp4", "gs://b/2.mp4", "gs://b/long.mp4"]
    assert sorted(watched.slices) == list(range(len(watched.slices)))


def test_no_poll_is_idle_while_a_lane_is_at_work(watched: Watched) -> None:
    tenth_poll = threading.Event()
    watched(
        [[LONG]],
        annotate=lambda _: tenth_poll.wait(60),
        on_poll=lambda number: tenth_poll.set() if number == 10 else None,
    )
    assert len(watched.poll_times) >= 11


def test_a_lane_that_fails_ends_the_other_before_the_error_is_told(watched: Watched) -> None:
    long_is_at_work = threading.Event()
    ended: list[str] = []

    def annotate(names: list[str]) -> None:
        if names != ["gs://b/long.mp4"]:
            long_is_at_work.wait(60)
            raise OSError("the disk is full")
        long_is_at_work.set()
        for _ in range(1_000):
            if watched.are_decoders_closed():
                ended.append("decoders closed")
                raise RuntimeError("the decoders are closed")
            time.sleep(0.05)

    with pytest.raises(OSError, match="the disk is full"):
        watched([[LONG, obj("a.mp4")]], annotate=annotate)
    assert ended == ["decoders closed"]


def test_a_full_slice_does_not_wait_for_the_end_of_a_poll(watched: Watched) -> None:
    begun = threading.Event()

    def endless() -> Iterator[Found]:
        yield from (obj(f"{number}.mp4") for number in range(LOCAL_SLICES.num_videos))
        assert begun.wait(60)

    watched([endless(), []], annotate=lambda _: begun.set())
    assert [len(names) for names in watched.slices.values()] == [LOCAL_SLICES.num_videos]


def test_what_waits_for_a_lane_does_not_wait_for_the_next_poll(watched: Watched) -> None:
    is_found = threading.Event()

    def found() -> Iterator[Found]:
        yield from (obj(f"{number}.mp4") for number in range(LOCAL_SLICES.num_videos + 1))
        is_found.set()

    def annotate(names: list[str]) -> None:
        is_found.wait(60)
        if len(names) == 1:
            raise OSError("the second slice was begun")

    with pytest.raises(OSError, match="the second slice was begun"):
        watched([found()], annotate=annotate, poll_seconds=3600)


def test_a_lane_that_is_at_work_keeps_so_many_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.lanes, "MOST_WAITING", 1)
    with closing(Lanes(lambda *_: None)) as lanes:
        assert lanes.has_room(LONG)
        lanes.add(LONG)
        assert not lanes.has_room(LONG)
        assert lanes.has_room(obj("a.mp4"))
        lanes.go_on()
        assert lanes.has_room(LONG)


def test_the_time_of_change_is_read_back_from_the_version() -> None:
    assert changed_ns("7-1800000000000000001") == 1_800_000_000_000_000_001
