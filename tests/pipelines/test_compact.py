import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers.promises import assert_promises
from makers.published import constants, failed, ok, publish_slice
from makers.tables import read

from mmeg_model.locked import locked
from mmeg_model.media.source import VideoRef
from pipelines.cli import main
from pipelines.compact import compact
from pipelines.completed import read_completed
from pipelines.damaged import naming_damaged
from pipelines.output_folder import LocalFolder
from pipelines.panes import publish_pane
from pipelines.table_files import own_files, pane_name


def stems(output: Path) -> list[str]:
    return list(own_files(LocalFolder(output), "videos"))


def contents(output: Path) -> dict[str, list[str]]:
    """The rows of each table, in no order."""
    return {table: sorted(map(repr, read(output, table))) for table in ("annotations", "errors", "videos")}


def published(output: Path, *, num_slices: int) -> None:
    for index in range(num_slices):
        videos = [VideoRef(f"/{index}-{i}.mp4", "1") for i in range(3)]
        parts = [failed(videos[0]), *map(ok, videos[1:]), *([failed(None)] if index == 1 else [])]
        publish_slice(output, parts, run_id=f"run-{index // 3}", slice_index=index)


def test_small_files_become_one_and_no_row_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(tmp_path, num_slices=5)
    before = contents(tmp_path)
    assert main(["compact", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "5 files of each table before, 1 now\n"
    assert len(list(tmp_path.rglob("*.parquet"))) == 3
    assert contents(tmp_path) == before
    assert_promises(tmp_path, num_inputs=15)
    files = sorted(tmp_path.rglob("*.parquet"))
    assert main(["compact", str(tmp_path)]) == 0
    assert sorted(tmp_path.rglob("*.parquet")) == files, "nothing is left to merge"
    assert contents(tmp_path) == before


def test_a_run_goes_on_behind_it(tmp_path: Path) -> None:
    published(tmp_path, num_slices=2)
    compact(LocalFolder(tmp_path))
    completed = read_completed(LocalFolder(tmp_path), constants("later"))
    assert completed.videos.status(VideoRef("/1-0.mp4", "1")) == "failed"
    assert completed.superseded == {}


def test_files_stay_under_the_target(tmp_path: Path) -> None:
    published(tmp_path, num_slices=6)
    sizes = [
        sum(path.stat().st_size for path in tmp_path.rglob(f"{stem.split('/')[1]}.parquet"))
        for stem in stems(tmp_path)
    ]
    assert compact(LocalFolder(tmp_path), target_bytes=sum(sizes[:2])) == (6, 3)
    assert_promises(tmp_path, num_inputs=18)


def test_older_versions_are_dropped(tmp_path: Path) -> None:
    old, new = VideoRef("/a.mp4", "1"), VideoRef("/a.mp4", "2")
    publish_slice(tmp_path, [ok(old)], run_id="run-1")
    publish_slice(tmp_path, [ok(new)], run_id="run-2")
    compact(LocalFolder(tmp_path))
    assert [row["video_version"] for row in read(tmp_path, "annotations")] == ["2", "2"]
    assert_promises(tmp_path, num_inputs=1)


def test_row_groups_are_filled_and_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.compact.ROWS_PER_GROUP", 8)
    published(tmp_path, num_slices=6)  # 4 annotations each
    compact(LocalFolder(tmp_path))
    (path,) = (tmp_path / "annotations").rglob("*.parquet")
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(i).to_pylist() for i in range(file.num_row_groups)]
    assert [len(group) for group in groups] == [8, 8, 8]
    for group in groups:
        keys = [(row["video_uri"], row["clip_index"]) for row in group]
        assert keys == sorted(keys)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(1, 60_000))
def test_whatever_is_merged_each_video_stands_once(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], target_bytes: int
) -> None:
    output = tmp_path_factory.mktemp("out")
    for index, number in enumerate(numbers):  # a number that comes again is annotated again
        publish_slice(output, [ok(VideoRef(f"/{number}.mp4", "1"))], run_id=f"run-{index:03d}")
    compact(LocalFolder(output), target_bytes=target_bytes)
    assert_promises(output, num_inputs=len(set(numbers)))
    newest = {f"/{number}.mp4": f"run-{index:03d}" for index, number in enumerate(numbers)}
    assert {row["video_uri"]: row["run_id"] for row in read(output, "videos")} == newest


def test_what_cannot_start_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compact", str(tmp_path / "none")]) == 2
    assert "holds no tables" in capsys.readouterr().err
    published(tmp_path, num_slices=2)
    with locked(tmp_path, by="run 7"):
        assert main(["compact", str(tmp_path)]) == 2
    assert "another run writes into" in capsys.readouterr().err
    (path, *_) = (tmp_path / "videos").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[: random.Random(0).randrange(50)])
    assert main(["compact", str(tmp_path)]) == 2
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("table", ["annotations", "errors"])
def test_a_file_that_is_missing_is_named_and_nothing_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    published(tmp_path, num_slices=3)
    (missing, *_) = (tmp_path / table).rglob("*.parquet")
    missing.unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    assert main(["compact", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mmeg compact: {missing} is missing, ")
    assert "nothing was touched" in error
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def overwritten(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(300) + content[400:])


@pytest.mark.parametrize("table", ["annotations", "errors"])
@pytest.mark.parametrize("damage", [cut, overwritten])
@pytest.mark.parametrize("found_by", ["merging", "taking rows out", "mending panes"])
def test_a_damaged_file_is_named_with_a_way_out(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    table: str,
    damage: Callable[[Path], None],
    found_by: str,
) -> None:
    a, b = VideoRef("/a.mp4", "1"), VideoRef("/b.mp4", "1")
    parts = [ok(a), failed(b), failed(None)]
    if found_by == "mending panes":
        stem = f"run=run-1/{pane_name(window_start=0, shard=0, num_shards=1)}"
        publish_pane(
            parts, output=LocalFolder(tmp_path), stem=stem, constants=constants("run-1"), num_written=0
        )
    else:
        stem = publish_slice(tmp_path, parts, run_id="run-1")
    other = replace(a, version="2") if found_by == "taking rows out" else VideoRef("/c.mp4", "1")
    publish_slice(tmp_path, [ok(other)], run_id="run-2")
    damaged = tmp_path / table / f"{stem}.parquet"
    damage(damaged)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    assert main(["compact", str(tmp_path)]) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"mmeg compact ended early: {damaged} is damaged (")
    assert "remove it and the files of the same name beside it" in error
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


@pytest.mark.parametrize("error", [OSError(116, "Stale file handle"), pa.ArrowMemoryError("malloc failed")])
def test_what_is_not_the_fault_of_a_file_does_not_ask_for_its_removal(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, naming_damaged("/out/errors/run=r/x.parquet"):
        raise error
    assert caught.value is error


def test_older_versions_that_a_stream_left_are_dropped(tmp_path: Path) -> None:
    first, second, other = VideoRef("/a.mp4", "9-1"), VideoRef("/a.mp4", "9-2"), VideoRef("/b.mp4", "1")
    publish_slice(tmp_path, [ok(first), ok(other)], run_id="run-1", keeps_versions=True)
    publish_slice(tmp_path, [ok(second)], run_id="run-2", keeps_versions=True)
    assert len(read(tmp_path, "videos")) == 3
    compact(LocalFolder(tmp_path))
    assert sorted(row["video_version"] for row in read(tmp_path, "videos")) == ["1", "9-2"]
    assert_promises(tmp_path, num_inputs=2)
