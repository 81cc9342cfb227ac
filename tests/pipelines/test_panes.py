import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers.promises import assert_promises, broken_promises
from makers.published import constants, failed, ok
from makers.tables import read

from mmeg_model.media.source import VideoRef
from pipelines.completed import read_completed
from pipelines.output_folder import LocalFolder
from pipelines.panes import publish_pane, whole_videos
from pipelines.starting import tidy
from pipelines.table_files import is_pane, own_files, pane_name
from pipelines.tables import TABLES, Failure, VideoPart

CONSTANTS = constants("run-1", keeps_versions=True)
VIDEOS = [VideoRef(f"/{name}.mp4", "1") for name in "abcdef"]
STEM = f"run=run-1/{pane_name(window_start=1_800_000_000, shard=1, num_shards=4)}"


def written(output: Path, parts: Iterable[VideoPart], num_written: int = 0) -> int:
    return publish_pane(
        list(parts), output=LocalFolder(output), stem=STEM, constants=CONSTANTS, num_written=num_written
    )


def names(output: Path) -> list[str]:
    return sorted(row["video_uri"] for row in read(output, "videos"))


def halves(video: VideoRef) -> tuple[VideoPart, VideoPart]:
    """The plan of a video, and the rows of its spans."""
    whole = ok(video)
    plan = VideoPart(video, info=whole.info, planned_clips=whole.planned_clips)
    return plan, VideoPart(**{**vars(whole), "info": None, "planned_clips": 0})


def nowhere(message: str) -> VideoPart:
    """A failure of no video."""
    return VideoPart(None, failures=(Failure("find", "BadNotification", message),))


def test_names_are_made_of_run_window_and_shard(tmp_path: Path) -> None:
    written(tmp_path, [ok(VIDEOS[0])])
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet")} == {
        f"{table}/run=run-1/slice-000000-window-20270115T080000Z-shard-00001-of-00004.parquet"
        for table in TABLES
    }
    (stem,) = own_files(LocalFolder(tmp_path), "videos")
    assert is_pane(stem)
    assert not is_pane("run=a-window-b/slice-000000-batch-shard-00000-of-00001")


def test_a_later_pane_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    assert written(tmp_path, map(ok, VIDEOS[:2])) == 2
    assert written(tmp_path, map(ok, VIDEOS[:3]), 2) == 3
    assert names(tmp_path) == ["/a.mp4", "/b.mp4", "/c.mp4"]
    assert len(list(tmp_path.rglob("*.parquet"))) == 3
    assert_promises(tmp_path, num_inputs=3)


def test_a_video_waits_until_all_its_parts_have_come(tmp_path: Path) -> None:
    plan, rows = halves(VIDEOS[1])
    assert whole_videos([plan]) == whole_videos([rows]) == set()
    assert written(tmp_path, [ok(VIDEOS[0]), plan]) == 1
    assert names(tmp_path) == ["/a.mp4"]
    assert_promises(tmp_path, num_inputs=1)
    assert written(tmp_path, [rows, ok(VIDEOS[0]), plan], 1) == 2
    assert names(tmp_path) == ["/a.mp4", "/b.mp4"]
    assert_promises(tmp_path, num_inputs=2)


@pytest.mark.parametrize("parts", [[], [halves(VIDEOS[0])[0]]])
def test_what_holds_no_whole_video_leaves_no_file(tmp_path: Path, parts: list[VideoPart]) -> None:
    assert written(tmp_path, parts) == 0
    assert list(tmp_path.rglob("*")) == []


def test_empty_and_repeated_panes_change_nothing(tmp_path: Path) -> None:
    num_written = written(tmp_path, map(ok, VIDEOS[:2]))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    for parts in ([], map(ok, VIDEOS[:1]), map(ok, VIDEOS[:2])):
        assert written(tmp_path, parts, num_written) == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


def test_what_was_published_behind_the_last_checkpoint_is_carried_over_by_panes_that_begin_anew(
    tmp_path: Path,
) -> None:
    poison, other = nowhere("poison"), nowhere("other poison")
    written(tmp_path, [*map(ok, VIDEOS[:3]), failed(VIDEOS[3]), poison])
    for parts, num_written, num_done in (
        ([ok(VIDEOS[1])], 1, 4),  # nothing new
        ([*map(ok, VIDEOS[1:2]), ok(VIDEOS[4]), other], 3, 5),
        ([*map(ok, VIDEOS[:2]), failed(VIDEOS[3]), ok(VIDEOS[4]), other, ok(VIDEOS[5])], 6, 6),
    ):
        assert written(tmp_path, parts) == num_written
        assert names(tmp_path) == [video.uri for video in VIDEOS[:4] + VIDEOS[4:num_done]]
        assert_promises(tmp_path, num_inputs=num_done)
    errors = [(row["video_uri"], row["message"]) for row in read(tmp_path, "errors")]
    assert set(errors) == {(None, "other poison"), (None, "poison"), ("/d.mp4", "no video")}
    assert len(errors) == 3


@pytest.mark.parametrize("table", ["annotations", "errors"])
def test_a_file_that_is_missing_beside_its_videos_is_named_and_what_stands_there_stays(
    tmp_path: Path, table: str
) -> None:
    written(tmp_path, map(ok, VIDEOS[:2]))
    (missing,) = (tmp_path / table).rglob("*.parquet")
    missing.unlink()
    with pytest.raises(OSError, match=str(missing)):
        written(tmp_path, [ok(VIDEOS[2])])
    assert names(tmp_path) == ["/a.mp4", "/b.mp4"]


@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_file_is_named_and_what_stands_there_stays(tmp_path: Path, table: str) -> None:
    written(tmp_path, map(ok, VIDEOS[:2]))
    (damaged,) = (tmp_path / table).rglob("*.parquet")
    damaged.write_bytes(damaged.read_bytes()[:200])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    with pytest.raises(OSError, match=rf"^{damaged} is damaged "):
        written(tmp_path, [ok(VIDEOS[2])])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


def test_a_version_that_is_there_no_more_does_not_keep_the_next_one_out(tmp_path: Path) -> None:
    """It was replaced while a worker was lost, so that polls behind the last checkpoint find the next one alone."""
    written(tmp_path, [ok(VideoRef("/a.mp4", "1"))])
    assert written(tmp_path, [ok(VideoRef("/a.mp4", "2"))]) == 1
    assert sorted(row["video_version"] for row in read(tmp_path, "videos")) == ["1", "2"]
    assert [row["video_version"] for row in read(tmp_path, "annotations")].count("1") == 2


def test_a_failure_of_no_video_is_written_too(tmp_path: Path) -> None:
    assert written(tmp_path, [nowhere("a")]) == 1
    assert [row["video_uri"] for row in read(tmp_path, "errors")] == [None]
    assert written(tmp_path, [nowhere("a"), ok(VIDEOS[0]), nowhere("b")], 1) == 3
    assert len(read(tmp_path, "errors")) == 2


@given(st.randoms(use_true_random=False), st.data())
@settings(max_examples=15, deadline=None)
def test_panes_in_any_order_and_number_leave_all_that_was_whole(
    tmp_path_factory: pytest.TempPathFactory, shuffle: random.Random, data: st.DataObject
) -> None:
    output = tmp_path_factory.mktemp("out")
    parts = [part for video in VIDEOS for part in halves(video)]
    shuffle.shuffle(parts)
    sizes: Sequence[int] = data.draw(st.lists(st.integers(0, len(parts)), max_size=5))
    num_written = 0
    for size in [*sizes, len(parts), *sizes]:
        num_written = written(output, parts[:size], num_written)
    assert names(output) == [video.uri for video in VIDEOS]
    assert_promises(output, num_inputs=len(VIDEOS))


class KilledError(BaseException):
    """In place of a signal that leaves no time."""


@pytest.mark.parametrize("num_replaced", [0, 1, 2, 3])
def test_killed_while_a_pane_takes_its_place_nothing_is_lost_and_a_start_mends_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_replaced: int
) -> None:
    broken = failed(VIDEOS[3])
    written(tmp_path, [*map(ok, VIDEOS[:2]), failed(None)])
    replaced: list[str] = []

    def replace(source: Path, target: Path) -> None:
        if len(replaced) == num_replaced:
            raise KilledError
        replaced.append(target.parts[-3])
        source.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.output_folder.os.replace", replace)
        if num_replaced < 3:
            with pytest.raises(KilledError):
                written(tmp_path, [*map(ok, VIDEOS[:3]), broken, failed(None)], 3)
        else:
            written(tmp_path, [*map(ok, VIDEOS[:3]), broken, failed(None)], 3)
    assert replaced == ["annotations", "errors", "videos"][:num_replaced]
    num_done = 4 if num_replaced == 3 else 2
    assert names(tmp_path) == [video.uri for video in VIDEOS[:num_done]]
    assert not [line for line in broken_promises(tmp_path) if "contradict" in line], (
        "all that is done is whole"
    )

    output = LocalFolder(tmp_path)
    tidy(output, read_completed(output))
    assert_promises(tmp_path, num_inputs=num_done)
    assert [row["video_uri"] for row in read(tmp_path, "errors")].count(None) == 1
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    tidy(output, read_completed(output))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
