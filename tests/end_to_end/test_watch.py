"""`mmeg watch` over folders that change while it runs."""

import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from makers.buckets import BUCKET, Proxy
from makers.promises import assert_promises
from makers.tables import by_name, read

from pipelines.cli import main
from pipelines.lanes import LONG_VIDEO_BYTES

UNTIL_IDLE = ("--poll-seconds", "0.2", "--stop-after-idle-polls", "2")


def make_sound(folder: Path, name: str, *, seconds: int = 1, minutes_ago: int = 10) -> Path:
    path = folder / name
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        noise = np.random.default_rng(seconds).normal(0, 3000, 16_000 * seconds)
        file.writeframes(noise.astype("<i2").tobytes())
    changed = time.time() - 60 * minutes_ago
    os.utime(path, (changed, changed))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def watch(*arguments: object, output: Path) -> int:
    return main(["watch", *map(str, arguments), "--output", str(output), *UNTIL_IDLE])


def test_what_is_new_is_annotated_and_nothing_twice(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    make_sound(folder, "a.wav")
    (folder / "notes.txt").write_text("no video")
    assert watch(folder, output=output) == 0
    assert "videos    1: 1 ok" in capsys.readouterr().out
    make_sound(folder, "b.wav")
    (folder / "broken.wav").write_bytes(b"no sound")
    os.utime(folder / "broken.wav", (1, 1))
    assert watch(folder, output=output) == 1
    assert "videos    2: 1 ok, 0 partial, 1 failed" in capsys.readouterr().out
    assert_promises(output, num_inputs=3)
    assert watch(folder, output=output) == 0, "what failed is not tried again"
    assert "videos    0: 0 ok" in capsys.readouterr().out
    assert_promises(output, num_inputs=3)


def test_a_file_that_is_replaced_stands_in_both_versions_until_they_are_compacted(
    folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    make_sound(folder, "a.wav")
    watch(folder, output=output)
    make_sound(folder, "a.wav", seconds=7, minutes_ago=5)
    watch(folder, output=output)
    assert sorted(row["clips"] for row in read(output, "videos")) == [1, 2]
    assert_promises(output, num_inputs=2)
    make_sound(folder, "a.wav", seconds=13, minutes_ago=1)
    watch(folder, output=output)
    assert len(read(output, "videos")) == 3, "a start drops none"
    assert main(["compact", str(output)]) == 0
    assert [row["clips"] for row in read(output, "videos")] == [3]
    assert_promises(output, num_inputs=1)


def test_objects_that_appear_are_annotated_at_once(buckets: Proxy, folder: Path, tmp_path: Path) -> None:
    buckets.upload("in/a.wav", make_sound(folder, "a.wav").read_bytes())
    assert watch(f"gs://{BUCKET}/in/", output=tmp_path / "out") == 0
    (row,) = read(tmp_path / "out", "videos")
    assert row["video_uri"] == f"gs://{BUCKET}/in/a.wav"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere", "--output", "out"], "nowhere does not exist; make the folder"),
        (["gs://a-bucket", "--output", "out", "--tasks", "age"], "tasks must be one or more of"),
        ([".", "--output", "pipelines.txt/out"], "cannot be written to: Not a directory"),
    ],
)
def test_what_cannot_start_touches_nothing(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, buckets: Proxy
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines.txt").write_text("a file")
    before = sorted(tmp_path.rglob("*"))
    assert main(["watch", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@contextmanager
def watching(
    *arguments: object, program: Sequence[str] = ("-m", "pipelines.cli")
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *program, "watch", *map(str, arguments), "--poll-seconds", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], is_so: Callable[[], object]) -> None:
    while not is_so():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_files_that_come_while_it_watches_are_published_and_ctrl_c_ends_it(
    folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"

    def num_published() -> int:
        return len(list(output.glob("videos/*/*.parquet")))

    with watching(folder, "--output", output) as process:
        make_sound(folder, "a.wav")
        until(process, lambda: num_published() == 1)
        being_written = folder / "b.wav"
        whole = make_sound(tmp_path, "whole.wav", seconds=7).read_bytes()
        with being_written.open("wb") as file:
            file.write(whole[: len(whole) // 2])
            file.flush()
            make_sound(folder, "c.wav")
            until(process, lambda: num_published() == 2)
            file.write(whole[len(whole) // 2 :])
        until(process, lambda: num_published() == 3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130, said
    assert "interrupted: what was published stands" in said
    assert_promises(output, num_inputs=3)
    assert {name: row["clips"] for name, row in by_name(read(output, "videos")).items()} == {
        "a.wav": 1, "b.wav": 2, "c.wav": 1,
    }  # fmt: skip


WITH_SCRIPTED_DECODERS = (
    "-c",
    f"""
import functools, sys
import pipelines.decode_clips
from mmeg_model.media.decoders import Decoders
from pipelines.cli import main

command = (sys.executable, "-P", {str(Path(__file__).parents[1] / "mmeg_model" / "media" / "scripted_decoder.py")!r})
pipelines.decode_clips.Decoders = functools.partial(Decoders, command=command)
sys.exit(main(sys.argv[1:]))
""",
)


def write_script(path: Path, *, is_long: bool = False, **script: object) -> None:
    """A video of 90 s for scripted decoders."""
    content = json.dumps({"duration_ms": 90_000} | script).encode()
    path.write_bytes(content.ljust(LONG_VIDEO_BYTES + 1 if is_long else 0))
    os.utime(path, (1, 1))


def held_up(begun: Path) -> dict[str, object]:
    """The script of a video that is at work when `begun` is there, and whose decoder then waits to be killed."""
    return {"do": "stop while sending", "at_ms": 0, "once": str(begun)}


def published(output: Path) -> set[str]:
    return set(by_name(read(output, "videos"))) if list(output.glob("videos/*/*.parquet")) else set()


def kill_the_stopped(process: subprocess.Popen[str]) -> None:
    """Kill the decoders that are held up."""
    for child in psutil.Process(process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_STOPPED:
                child.kill()


def test_short_videos_are_published_while_long_ones_are_at_work(folder: Path, tmp_path: Path) -> None:
    output, begun = tmp_path / "out", [tmp_path / "begun", tmp_path / "begun too"]
    for number in range(2):
        write_script(folder / f"long{number}.mp4", is_long=True, **held_up(begun[number]))
    arguments = (folder, "--output", output, "--num-decoders", 1, "--stop-after-idle-polls", 2)
    with watching(*arguments, program=WITH_SCRIPTED_DECODERS) as process:
        until(process, lambda: any(map(Path.exists, begun)))
        for name in ("a.mp4", "b.mp4", "c.mp4"):
            write_script(folder / name)
            until(process, lambda: name in published(output))  # noqa: B023
        assert published(output) == {"a.mp4", "b.mp4", "c.mp4"}
        while process.poll() is None:
            kill_the_stopped(process)
            time.sleep(0.05)
        said, _ = process.communicate()
    assert process.returncode == 0, "no poll was idle while the long ones were at work"
    assert "videos    5: 5 ok" in said
    assert "clips     75 annotated, 0 failed" in said, "fifteen of each"
    assert_promises(output, num_inputs=5)


def test_ctrl_c_while_both_lanes_are_at_work_gives_up_both(folder: Path, tmp_path: Path) -> None:
    output, long_begun, short_begun = tmp_path / "out", tmp_path / "long", tmp_path / "short"
    write_script(folder / "first.mp4")
    write_script(folder / "long.mp4", is_long=True, do="block", at_ms=0, once=str(long_begun))
    arguments = (folder, "--output", output, "--num-decoders", 2)
    with watching(*arguments, program=WITH_SCRIPTED_DECODERS) as process:
        until(process, lambda: published(output) == {"first.mp4"} and long_begun.exists())
        write_script(folder / "short.mp4", do="block", at_ms=0, once=str(short_begun))
        until(process, short_begun.exists)
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted: what was published stands, what is at work is given up"
    assert "Traceback" not in said
    for child in children:
        child.kill()  # who waits like this does not see its parent go
    assert published(output) == {"first.mp4"}
    assert_promises(output, num_inputs=1)
    with watching(*arguments, "--stop-after-idle-polls", 2, program=WITH_SCRIPTED_DECODERS) as process:
        assert "videos    2: 2 ok" in process.communicate()[0]
    assert_promises(output, num_inputs=3)


def test_a_lane_that_cannot_publish_ends_the_command_at_once(folder: Path, tmp_path: Path) -> None:
    output, begun = tmp_path / "out", tmp_path / "begun"
    write_script(folder / "long.mp4", is_long=True, **held_up(begun))
    arguments = (folder, "--output", output, "--num-decoders", 2)
    with watching(*arguments, program=WITH_SCRIPTED_DECODERS) as process:
        until(process, begun.exists)
        (output / "errors").rmdir()
        (output / "errors").write_text("no folder")
        write_script(folder / "short.mp4")
        _, said = process.communicate()
    assert process.returncode == 3, said
    assert "mmeg watch ended early: " in said
    assert "Traceback" not in said
    assert published(output) == set()
    (output / "errors").unlink()
    with watching(*arguments, "--stop-after-idle-polls", 2, program=WITH_SCRIPTED_DECODERS) as process:
        assert "videos    2: 2 ok" in process.communicate()[0]
    assert_promises(output, num_inputs=2)
