import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from makers.promises import assert_promises
from makers.published import failed, ok, publish_slice
from makers.tables import read

from mmeg_model.media.source import VideoRef
from pipelines.completed import read_completed
from pipelines.output_folder import TEMPORARY, LocalFolder, OutputFolder, beside
from pipelines.rewriting import remove_orphans, remove_superseded
from pipelines.starting import tidy
from pipelines.table_files import REWRITTEN, table_file

A, B, C = (VideoRef(f"/{name}.mp4", "1") for name in "abc")
MEMBER = VideoRef("/s.tar", "1", "a.mp4")


def start(output: OutputFolder) -> None:
    """What every start does."""
    tidy(output, read_completed(output))


def names(output: Path) -> dict[str, list[tuple[str, str]]]:
    """The rows of each table, by video and run."""
    return {
        table: sorted(
            (str(row["video_uri"]) + (row["member"] or ""), row["run_id"]) for row in read(output, table)
        )
        for table in ("videos", "errors", "annotations")
    }


def files(output: Path) -> list[Path]:
    return sorted(path for path in output.rglob("*") if path.is_file())


def test_superseded_rows_leave_all_three_tables_and_others_stay(tmp_path: Path) -> None:
    publish_slice(tmp_path, [failed(A), ok(B), ok(MEMBER), failed(None)], run_id="run-1")
    publish_slice(tmp_path, [ok(A), failed(VideoRef("/s.tar", "1", "b.mp4"))], run_id="run-2")
    start(LocalFolder(tmp_path))
    assert names(tmp_path) == {
        "videos": [("/a.mp4", "run-2"), ("/b.mp4", "run-1"), ("/s.tara.mp4", "run-1"), ("/s.tarb.mp4", "run-2")],
        "errors": [("/s.tarb.mp4", "run-2"), ("None", "run-1")],
        "annotations": [(name, run) for name, run in (("/a.mp4", "run-2"), ("/b.mp4", "run-1"),
                                                      ("/s.tara.mp4", "run-1")) for _ in range(2)],
    }  # fmt: skip
    assert_promises(tmp_path, num_inputs=4)


def test_a_file_of_which_nothing_is_left_is_removed(tmp_path: Path) -> None:
    old = publish_slice(tmp_path, [failed(A)], run_id="run-1")
    publish_slice(tmp_path, [ok(A)], run_id="run-2")
    start(LocalFolder(tmp_path))
    assert not any(
        (tmp_path / table_file(table, old)).exists() for table in ("videos", "errors", "annotations")
    )
    assert_promises(tmp_path, num_inputs=1)


def test_a_failure_of_no_video_is_not_lost_with_the_videos(tmp_path: Path) -> None:
    publish_slice(tmp_path, [failed(A), failed(None)], run_id="run-1")
    publish_slice(tmp_path, [ok(A)], run_id="run-2")
    start(LocalFolder(tmp_path))
    assert names(tmp_path)["errors"] == [("None", "run-1")]
    assert_promises(tmp_path, num_inputs=1)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_slice(tmp_path, [failed(A), ok(B)], run_id="run-1")
    publish_slice(tmp_path, [ok(A)], run_id="run-2")
    before = {path: path.read_bytes() for path in files(tmp_path)}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.output_folder.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        remove_superseded(LocalFolder(tmp_path), read_completed(LocalFolder(tmp_path)).superseded)
    assert {path: path.read_bytes() for path in files(tmp_path)} == before


def test_orphans_are_removed_and_committed_files_stay(tmp_path: Path) -> None:
    orphan = publish_slice(tmp_path, [ok(B)], run_id="run-0")
    of_orphan = files(tmp_path)
    publish_slice(tmp_path, [ok(A)], run_id="run-1")
    kept = [path for path in files(tmp_path) if path not in of_orphan]
    (tmp_path / table_file("videos", orphan)).unlink()
    half = tmp_path / beside(table_file("annotations", orphan), TEMPORARY)
    half.write_bytes(b"half")
    mine = half.with_name("mine.parquet")
    mine.write_bytes(b"of somebody else")
    assert remove_orphans(LocalFolder(tmp_path)) == 3
    assert files(tmp_path) == sorted([*kept, mine])


def test_what_cannot_be_listed_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_slice(tmp_path, [ok(A)])
    before = files(tmp_path)

    def denied(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pipelines.output_folder.os.listdir", denied)
    with pytest.raises(PermissionError, match="Permission denied"):
        remove_orphans(LocalFolder(tmp_path))
    monkeypatch.undo()
    assert files(tmp_path) == before


def test_what_waits_for_videos_that_somebody_removed_is_removed(tmp_path: Path) -> None:
    stem = publish_slice(tmp_path, [ok(A)], run_id="run-1")
    kept = publish_slice(tmp_path, [ok(B)], run_id="run-2")
    annotations = tmp_path / table_file("annotations", stem)
    annotations.rename(annotations.with_name(f".{annotations.name}{REWRITTEN}"))
    (tmp_path / table_file("videos", stem)).unlink()
    start(LocalFolder(tmp_path))
    assert [path for path in files(tmp_path) if kept not in str(path)] == []
    assert_promises(tmp_path, num_inputs=1)


KILLED_AT_EACH_STEP = """
import os, shutil, signal, sys
from itertools import count
from pathlib import Path

from pipelines.compact import compact
from pipelines.completed import read_completed
from pipelines.output_folder import LocalFolder
from pipelines.rewriting import finish_rewrites, remove_orphans, remove_superseded

whole, killed, what = sys.argv[1:]
steps_left = 0

def dying(step):
    def f(*args, **more):
        global steps_left
        if not steps_left:
            os.kill(os.getpid(), signal.SIGKILL)
        steps_left -= 1
        return step(*args, **more)
    return f

for steps_left in count():
    shutil.copytree(whole, Path(killed, str(steps_left)))
    output = LocalFolder(Path(killed, str(steps_left)))
    child = os.fork()
    if not child:
        os.replace, os.unlink, os.fsync = map(dying, (os.replace, os.unlink, os.fsync))
        if what == "compact":
            compact(output)
        else:
            completed = read_completed(output)
            finish_rewrites(output)
            remove_orphans(output, completed.merged_stems)
            remove_superseded(output, completed.superseded)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("what", ["start", "compact"])
def test_killed_at_any_step_every_video_stands_once(tmp_path: Path, what: str) -> None:
    """Each change of a file's name is a step, and each moment at which one is written but has no name yet."""
    whole, expected, killed = (tmp_path / name for name in ("whole", "expected", "killed"))
    publish_slice(whole, [failed(A), ok(B), failed(None)], run_id="run-1")
    publish_slice(whole, [failed(C)], run_id="run-1", slice_index=1)
    publish_slice(whole, [ok(A), ok(MEMBER)], run_id="run-2")
    publish_slice(whole, [ok(C)], run_id="run-3")
    shutil.copytree(whole, expected)
    start(LocalFolder(expected))
    command = [sys.executable, "-c", KILLED_AT_EACH_STEP, str(whole), str(killed), what]
    subprocess.run(command, timeout=200, check=True)
    outputs = list(killed.iterdir())
    assert len(outputs) > 10
    for output in outputs:
        statuses = read_completed(LocalFolder(output)).videos
        assert [statuses.status(video) for video in (A, B, C, MEMBER)] == ["ok"] * 4
        start(LocalFolder(output))
        assert names(output) == names(expected)
        assert_promises(output, num_inputs=4)
        assert not [path for path in files(output) if path.name.endswith((TEMPORARY, REWRITTEN))]
