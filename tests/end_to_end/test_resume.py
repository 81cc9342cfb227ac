"""What is taken again, and what is left as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from makers.tables import by_name, read
from makers.video import Recipe, make_video

from pipelines import annotate_command, slice_list
from pipelines.cli import main
from pipelines.find_videos import find_videos


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two good videos and one that is broken."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a", "b"):
        make_video(folder, Recipe(f"{name}.mp4", seconds=7))
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:3000])
    return folder


def test_retry_failed_takes_what_failed_and_nothing_else(
    videos: Path, tmp_path: Path, annotate, capsys
) -> None:
    out = tmp_path / "out"
    assert annotate(videos, "/nobody.mp4", output=out, num_inputs=4) == 1
    first_run = by_name(read(out, "videos"))["a.mp4"]["run_id"]
    (videos / "broken.mp4").write_bytes((videos / "a.mp4").read_bytes())
    assert annotate(videos, "/nobody.mp4", output=out, num_inputs=4) == 1, "what failed stays failed"
    capsys.readouterr()
    assert annotate(videos, "/nobody.mp4", "--retry-failed", output=out, num_inputs=4) == 1
    assert "videos    2: 1 ok, 0 partial, 1 failed; done before: 2 ok" in capsys.readouterr().out
    rows = by_name(read(out, "videos"))
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.mp4": "ok", "b.mp4": "ok", "broken.mp4": "ok", "nobody.mp4": "failed",
    }  # fmt: skip
    assert {name for name, row in rows.items() if row["run_id"] == first_run} == {"a.mp4", "b.mp4"}
    assert [os.path.basename(row["video_uri"]) for row in read(out, "errors")] == ["nobody.mp4"]
    assert annotate(videos, "--retry-failed", output=out, num_inputs=4) == 0


def test_replace_changed_takes_new_versions_and_the_old_rows_leave(
    videos: Path, tmp_path: Path, annotate, capsys
) -> None:
    out = tmp_path / "out"
    annotate(videos, output=out, num_inputs=3)
    (videos / "broken.mp4").unlink()
    make_video(videos, Recipe("b.mp4", seconds=20))
    assert annotate(videos, output=out, num_inputs=3) == 0
    assert "--replace-changed annotates them again" in capsys.readouterr().err
    assert by_name(read(out, "videos"))["b.mp4"]["clips"] == 2
    assert annotate(videos, "--replace-changed", output=out, num_inputs=3) == 0
    assert by_name(read(out, "videos"))["b.mp4"]["clips"] == 4
    assert len([row for row in read(out, "annotations") if row["video_uri"].endswith("b.mp4")]) == 4
    capsys.readouterr()
    assert annotate(videos, "--replace-changed", output=out, num_inputs=3) == 0
    assert "videos    0: 0 ok" in capsys.readouterr().out, "nothing has changed since"


@pytest.mark.parametrize("table", ["annotations", "errors"])
def test_a_file_that_somebody_removed_is_named_and_the_way_out_annotates_its_videos_again(
    videos: Path, tmp_path: Path, annotate, capsys, table: str
) -> None:
    out = tmp_path / "out"
    slices = ("--slice-videos", "1", "--num-decoders", "1")
    assert annotate(videos, *slices, output=out, num_inputs=3) == 1
    missing = sorted((out / table).rglob("*.parquet"))[-1]
    missing.unlink()
    before = {path: path.read_bytes() for path in out.rglob("*.parquet")}
    for more in ([], ["--retry-failed"], ["--replace-changed"], ["--dry-run"]):
        assert main(["annotate", str(videos), "--output", str(out), *more]) == 2
        assert f"mmeg annotate: {missing} is missing, " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == before
    for path in out.rglob(missing.name):
        path.unlink()
    assert annotate(videos, output=out, num_inputs=3) == 1
    assert "videos    1: " in capsys.readouterr().out


def test_dry_run_says_what_would_be_taken_again(videos: Path, tmp_path: Path, annotate, capsys) -> None:
    out = tmp_path / "out"
    annotate(videos, output=out)
    before = sorted(out.rglob("*"))
    capsys.readouterr()
    annotate(videos, "--retry-failed", "--dry-run", output=out)
    assert capsys.readouterr().out.splitlines() == [str(videos / "broken.mp4")]
    assert sorted(out.rglob("*")) == before


def test_a_run_that_was_overtaken_while_it_looked_for_its_videos_says_so(
    videos: Path, tmp_path: Path, annotate, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a name that stands there twice the newest run holds, so that a run must not publish behind a newer one."""
    out = tmp_path / "out"

    def find_slowly(*arguments: object, **more: object):
        monkeypatch.undo()
        assert annotate(videos / "a.mp4", output=out, num_inputs=1) == 0
        return find_videos(*arguments, **more)

    monkeypatch.setattr(annotate_command, "find_videos", find_slowly)
    assert annotate(videos, output=out, num_inputs=1) == 2
    assert "another run has written into" in capsys.readouterr().err
    assert annotate(videos, output=out, num_inputs=3) == 1


def test_a_full_folder_for_temporary_files_is_named_and_nothing_is_touched(
    videos: Path, tmp_path: Path, annotate
) -> None:
    """One page has room for what is found, and for nothing beside it."""
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    assert annotate(videos / "a.mp4", output=out, num_inputs=1) == 0
    for path in (out / "videos").rglob("*.parquet"):  # as a run that died leaves it, for the start to remove
        path.unlink()
    before = sorted(out.rglob("*.parquet"))
    command = f"{sys.executable} -m pipelines.cli annotate {videos} --output {out} --num-decoders 1"
    script = f"mount -t tmpfs -o size=4k tmpfs {temporary} || exit 77; TMPDIR={temporary} exec {command}"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith(
        f"mmeg annotate: {temporary}, where temporary files lie, is full (No space left on device); "
        "name another folder in TMPDIR\n"
    )
    assert sorted(out.rglob("*.parquet")) == before


def test_a_run_that_lists_its_slices_in_files_leaves_none(
    videos: Path, tmp_path: Path, annotate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slice_list, "MOST_IN_GRAPH", 0)
    out = tmp_path / "out"
    assert annotate(videos, "--slice-videos", 2, output=out, num_inputs=3) == 1
    assert not list(out.glob("slices/*/*"))
