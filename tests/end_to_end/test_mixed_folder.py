import os
from fractions import Fraction
from pathlib import Path

import pytest
from makers.tables import by_name, read
from makers.video import Recipe, make_video

ODD_NAME = "a b'\"#?%41[1]\nпример 例.mp4"


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good, odd and broken files, as they lie about in real archives."""
    folder = tmp_path_factory.mktemp("mixed")
    whole = make_video(folder, Recipe("whole.mp4", seconds=14)).read_bytes()
    make_video(folder, Recipe("sound.flac", video=None, audio="flac", seconds=7))
    make_video(folder, Recipe("silent.mkv", audio=None, seconds=3))
    make_video(folder, Recipe("short.mkv", seconds=0.02, frame_rate=Fraction(50)))
    (folder / ODD_NAME).write_bytes(whole)
    (folder / "link.mp4").symlink_to(folder / "whole.mp4")
    (folder / "dangling.mp4").symlink_to(folder / "nobody.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("dear diary, this is no video\n" * 100)
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) * 2 // 3])  # the index stood at the end
    os.mkfifo(folder / "pipe.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    flipped = bytearray(make_video(folder, Recipe("flipped.mkv", seconds=14)).read_bytes())
    for position in range(4_000, len(flipped), 997):
        flipped[position] ^= 0x55
    (folder / "flipped.mkv").write_bytes(flipped)
    (folder / "cut.mkv").write_bytes(make_video(folder, Recipe("cut.mkv", seconds=14)).read_bytes()[:60_000])
    locked = folder / "locked.mp4"
    locked.write_bytes(whole)
    locked.chmod(0)
    (folder / "notes.txt").write_text("whole.mp4\n")
    return folder


def test_every_input_has_its_outcome(mixed_folder: Path, tmp_path: Path, annotate, capsys) -> None:
    assert annotate(mixed_folder, output=tmp_path, num_inputs=15) == 1
    videos = by_name(read(tmp_path, "videos"))
    failed = {name for name, row in videos.items() if row["status"] == "failed"}
    may_be_read_by_root = set() if os.geteuid() == 0 else {"locked.mp4"}
    assert (
        failed
        == {"empty.mp4", "text.mp4", "truncated.mp4", "pipe.mp4", "loop.mp4", "dangling.mp4"}
        | may_be_read_by_root
    )
    assert {
        videos[name]["status"]
        for name in ("whole.mp4", ODD_NAME, "link.mp4", "sound.flac", "silent.mkv", "short.mkv")
    } == {"ok"}
    assert videos["flipped.mkv"]["clips"] == 3

    messages = {name: row["message"] for name, row in by_name(read(tmp_path, "errors")).items()}
    assert "empty" in messages["empty.mp4"]
    assert "not a video or sound file" in messages["text.mp4"]
    assert "is no regular file" in messages["pipe.mp4"]
    assert "Too many levels of symbolic links" in messages["loop.mp4"]
    assert "No such file" in messages["dangling.mp4"]
    assert not any("Errno" in message or "Traceback" in message for message in messages.values())

    standard = capsys.readouterr()
    assert standard.out.splitlines()[0].startswith("videos    15: ")
    assert "1 files in folders are neither video nor sound" in standard.err


def test_clips_say_what_they_really_had(mixed_folder: Path, tmp_path: Path, annotate) -> None:
    names = ("whole.mp4", "sound.flac", "silent.mkv", "short.mkv")
    assert annotate(*(mixed_folder / name for name in names), output=tmp_path, num_inputs=4) == 0
    videos = by_name(read(tmp_path, "videos"))
    assert videos["whole.mp4"]["decode_seconds"] > 0.01, "14 s of picture take the processor's time"
    assert videos["whole.mp4"]["inference_seconds"] > 0
    rows = sorted(read(tmp_path, "annotations"), key=lambda row: (row["video_uri"], row["clip_index"]))
    clips = [
        (os.path.basename(r["video_uri"]), r["start_seconds"], r["end_seconds"], r["modalities"])
        for r in rows
    ]
    # by hand: 6 s windows; 14 s leave 2 s, and 7 s leave 1 s, which is not shorter than 1 s
    assert clips == [
        ("short.mkv", 0.0, pytest.approx(0.02, abs=0.025), "video"),
        ("silent.mkv", 0.0, pytest.approx(3.0, abs=0.04), "video"),
        ("sound.flac", 0.0, 6.0, "audio"),
        ("sound.flac", 6.0, pytest.approx(7.0, abs=0.04), "audio"),
        ("whole.mp4", 0.0, 6.0, "audio+video"),
        ("whole.mp4", 6.0, 12.0, "audio+video"),
        ("whole.mp4", 12.0, pytest.approx(14.0, abs=0.04), "audio+video"),
    ]


def test_the_same_file_under_two_names_gives_the_same_rows(
    mixed_folder: Path, tmp_path: Path, annotate
) -> None:
    annotate(mixed_folder / "whole.mp4", mixed_folder / "link.mp4", mixed_folder / ODD_NAME, output=tmp_path)
    rows: dict[str, list[object]] = {}
    for row in sorted(read(tmp_path, "annotations"), key=lambda row: row["clip_index"]):
        p = row["perceived_emotion_probabilities"]["anger"]
        rows.setdefault(row["video_uri"], []).append((row["clip_index"], pytest.approx(p, abs=1e-3)))
    assert len(rows) == 3
    first, second, third = rows.values()
    assert len(first) == 3
    assert first == second == third


def test_every_input_failed(mixed_folder: Path, tmp_path: Path, annotate) -> None:
    status = annotate(
        mixed_folder / "empty.mp4", mixed_folder / "text.mp4", "/nobody.mp4", output=tmp_path, num_inputs=3
    )
    assert status == 1
    assert read(tmp_path, "annotations") == []
    assert {row["stage"] for row in read(tmp_path, "errors")} == {"open", "find"}


def test_a_broken_promise_of_the_header_makes_a_video_partial(tmp_path: Path, annotate) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    recipe = Recipe("faststart.mp4", seconds=14, container_options={"movflags": "faststart"})
    whole = make_video(folder, recipe).read_bytes()
    (folder / "faststart.mp4").write_bytes(whole[: len(whole) // 2])
    assert annotate(folder, output=tmp_path / "out", num_inputs=1) == 1
    (video,) = read(tmp_path / "out", "videos")
    assert video["status"] == "partial"
    assert 5 < video["duration_seconds"] < 9
    (error,) = read(tmp_path / "out", "errors")
    assert (error["stage"], error["error"]) == ("probe", "ShorterThanStated")
    assert "the end of the file is missing" in error["message"]
