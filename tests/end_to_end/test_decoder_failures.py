"""Decoders that crash, hang or eat memory in the middle of a run: the other videos do not notice."""

import functools
import json
import sys
import threading
from pathlib import Path

import psutil
import pytest
from makers.tables import by_name, read

import pipelines.decode_clips
from mmeg_model.media.decoders import Decoders

SCRIPTED = (
    sys.executable,
    "-P",
    str(Path(__file__).parents[1] / "mmeg_model" / "media" / "scripted_decoder.py"),
)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four good videos of 90 s, in two spans each, read by scripted decoders."""
    monkeypatch.setattr(pipelines.decode_clips, "Decoders", functools.partial(Decoders, command=SCRIPTED))
    folder = tmp_path / "videos"
    folder.mkdir()
    for i in range(4):
        write(folder / f"good{i}.mp4")
    return folder


def write(path: Path, **script: object) -> None:
    path.write_text(json.dumps({"duration_ms": 90_000} | script))


def assert_others_are_whole(output: Path) -> None:
    videos = by_name(read(output, "videos"))
    good = [row for name, row in videos.items() if name.startswith("good")]
    assert [(row["status"], row["clips"], row["failed_clips"]) for row in good] == [("ok", 15, 0)] * 4


@pytest.mark.parametrize(
    ("deed", "error", "message"),
    [
        ("SIGSEGV", "DecoderKilled", "killed by signal SIGSEGV"),
        ("block", "DeadlineExceeded", "did not finish within 5 seconds"),
        ("spin", "DeadlineExceeded", "did not finish within 5 seconds"),
        ("fill memory", "MemoryLimitExceeded", "limit of 256 MiB"),
    ],
)
def test_a_span_that_fails_twice_is_a_row_that_names_the_cause(
    archive: Path, tmp_path: Path, annotate, deed: str, error: str, message: str
) -> None:
    write(archive / "bad.mp4", do=deed, at_ms=72_000)
    limits = ("--decode-deadline-seconds", 5, "--decode-memory-mib", 256)
    assert annotate(archive, *limits, output=tmp_path / "out", num_inputs=5) == 1
    assert_others_are_whole(tmp_path / "out")
    bad = by_name(read(tmp_path / "out", "videos"))["bad.mp4"]
    # by hand: spans [0, 48 s) and [48, 90 s); the second loses its windows from 72 s on, three of 6 s
    assert (bad["status"], bad["clips"], bad["failed_clips"]) == ("partial", 15, 3)
    (row,) = read(tmp_path / "out", "errors")
    assert (row["stage"], row["error"], row["start_seconds"], row["end_seconds"]) == (
        "decode",
        error,
        72.0,
        90.0,
    )
    assert message in row["message"]


@pytest.mark.parametrize("deed", ["SIGSEGV", "fill memory"])
def test_a_span_that_fails_once_is_tried_again(archive: Path, tmp_path: Path, annotate, deed: str) -> None:
    write(archive / "bad.mp4", do=deed, at_ms=72_000, once=str(tmp_path / "done"))
    assert annotate(archive, "--decode-memory-mib", 256, output=tmp_path / "out", num_inputs=5) == 0
    assert_others_are_whole(tmp_path / "out")
    assert by_name(read(tmp_path / "out", "videos"))["bad.mp4"]["clips"] == 15
    assert (tmp_path / "done").exists()


def test_killed_from_outside_while_sending(archive: Path, tmp_path: Path, annotate) -> None:
    write(archive / "bad.mp4", do="stop while sending", at_ms=72_000, once=str(tmp_path / "done"))
    finished = threading.Event()

    def kill_the_stopped() -> None:
        while not finished.is_set():
            for child in psutil.Process().children():
                try:
                    if child.status() == psutil.STATUS_STOPPED:
                        child.kill()
                except psutil.NoSuchProcess:
                    continue

    killer = threading.Thread(target=kill_the_stopped)
    killer.start()
    try:
        assert annotate(archive, output=tmp_path / "out", num_inputs=5) == 0
    finally:
        finished.set()
        killer.join()
    assert (tmp_path / "done").exists()
    assert_others_are_whole(tmp_path / "out")
    assert by_name(read(tmp_path / "out", "videos"))["bad.mp4"]["clips"] == 15


def test_a_probe_that_crashes_is_a_failed_video(archive: Path, tmp_path: Path, annotate) -> None:
    write(archive / "bad.mp4", do="SIGSEGV")
    assert annotate(archive, output=tmp_path / "out", num_inputs=5) == 1
    assert_others_are_whole(tmp_path / "out")
    (row,) = read(tmp_path / "out", "errors")
    assert (row["stage"], row["error"]) == ("probe", "DecoderKilled")


def test_clips_in_which_nothing_decodes_are_failures(archive: Path, tmp_path: Path, annotate) -> None:
    write(archive / "bad.mp4", without="picture and sound")
    assert annotate(archive, output=tmp_path / "out", num_inputs=5) == 1
    bad = by_name(read(tmp_path / "out", "videos"))["bad.mp4"]
    assert (bad["status"], bad["clips"], bad["failed_clips"]) == ("failed", 15, 15)
    rows = read(tmp_path / "out", "errors")
    assert [(row["start_seconds"], row["end_seconds"]) for row in rows] == [(0.0, 48.0), (48.0, 90.0)]
    assert {row["error"] for row in rows} == {"NothingDecoded"}
