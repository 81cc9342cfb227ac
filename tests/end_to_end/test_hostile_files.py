"""Files made to harm: each ends as one clear row, under every limit, and touches nothing else."""

from pathlib import Path

import pytest
from makers.hostile import demands, references
from makers.tables import by_name, read
from makers.video import Recipe, make_video
from makers.watch import watched

LIMITS = ("--decode-deadline-seconds", 60, "--decode-memory-mib", 512)


def outcomes(output: Path) -> dict[str, tuple[str, str, str]]:
    """Each video's status, and the name and message of its one error."""
    errors = {name: (row["error"], row["message"]) for name, row in by_name(read(output, "errors")).items()}
    videos = by_name(read(output, "videos"))
    return {name: (row["status"], *errors.get(name, ("", ""))) for name, row in videos.items()}


def test_headers_that_ask_for_too_much_are_one_clear_row_each(tmp_path: Path, annotate) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (tmp_path / "made").mkdir()
    hostile = demands(tmp_path / "made")
    for name, content in hostile.items():
        (folder / name).write_bytes(content)
    make_video(folder, Recipe("good.mp4", seconds=7))
    assert annotate(folder, *LIMITS, output=tmp_path / "out", num_inputs=len(hostile) + 1) == 1
    found = outcomes(tmp_path / "out")
    assert found.pop("good.mp4") == ("ok", "", "")
    expected = {
        "pixels.mov": ("TooManyPixels", "30000×30000 pixels, and the limit is 67108864 (--max-pixels)"),
        "years.mkv": ("DurationOutOfRange", "the limit is 172800 s (--max-video-seconds)"),
        "long-block.mkv": ("DurationOutOfRange", "the limit is 172800 s (--max-video-seconds)"),
        "streams.mp4": ("TooManyStreams", "more than 256 streams, which is the limit (--max-streams)"),
        "streams.mkv": ("TooManyStreams", "more than 256 streams, which is the limit (--max-streams)"),
        "samples.mp4": ("MemoryLimitExceeded", "its limit of 512 MiB (--decode-memory-mib)"),
        "nested.mp4": ("InvalidDataError", "whose index (moov) is missing or broken"),
        "sizes.mkv": ("EOFError", "the file ends within its header"),
        "rate.avi": ("NothingDecoded", "neither picture nor sound could be decoded for 1 of 1 clips"),
        "nested.mkv": ("NothingDecoded", "neither picture nor sound could be decoded for 1 of 1 clips"),
        "tags.mkv": ("NothingDecoded", "neither picture nor sound could be decoded for 1 of 1 clips"),
    }
    for name, (error, message) in expected.items():
        status, *said = found.pop(name)
        assert (status, said[0]) == ("failed", error), name
        assert message in said[1], name
    # What is there is annotated: a picture without its sound; a second of sound; a minute of two, of 2 kB.
    assert found.pop("endless-sample.mp4")[:2] == ("partial", "EmptyStream")
    assert found.pop("chapters.mkv") == ("ok", "", "")
    status, error, _ = found.pop("endless-packet.mkv")
    assert (status, error) == ("partial", "NothingDecoded"), (
        "a packet is looked for near the time it is shown"
    )
    assert found == {}


@pytest.mark.parametrize(
    ("flag", "limit", "error"),
    [
        ("--max-pixels", 128 * 96 - 1, "TooManyPixels"),
        ("--max-video-seconds", 1, "DurationOutOfRange"),
        ("--max-video-bytes", 1_000, "TooManyBytes"),
        ("--max-streams", 1, "TooManyStreams"),
    ],
)
def test_each_limit_is_an_option(tmp_path: Path, annotate, flag: str, limit: int, error: str) -> None:
    video = make_video(tmp_path, Recipe("a.mp4", seconds=2))
    assert annotate(video, flag, limit, output=tmp_path / "low", num_inputs=1) == 1
    ((status, name, message),) = outcomes(tmp_path / "low").values()
    assert (status, name) == ("failed", error)
    assert flag in message
    assert str(limit) in message


def test_what_is_at_its_limits_is_annotated(tmp_path: Path, annotate) -> None:
    video = make_video(tmp_path, Recipe("a.mp4", seconds=2))
    limits = ("--max-pixels", 128 * 96, "--max-video-seconds", 2, "--max-streams", 2)
    num_bytes = video.stat().st_size
    assert (
        annotate(video, *limits, "--max-video-bytes", num_bytes, output=tmp_path / "out", num_inputs=1) == 0
    )


def test_limits_decide_not_what_rows_say(tmp_path: Path, annotate) -> None:
    """They are not in the settings: a folder goes on under other limits."""
    first, second = (make_video(tmp_path, Recipe(f"{name}.mp4")) for name in "ab")
    assert annotate(first, "--max-streams", 5, output=tmp_path / "out") == 0
    assert annotate(second, "--max-pixels", 10**6, output=tmp_path / "out", num_inputs=2) == 0


def test_references_end_as_rows_and_are_never_followed(tmp_path: Path, annotate) -> None:
    (tmp_path / "canary").mkdir()
    with watched(make_video(tmp_path / "canary", Recipe("canary.mp4"))) as watch:
        folder = tmp_path / "videos"
        folder.mkdir()
        (tmp_path / "made").mkdir()
        made = references(tmp_path / "made", canary=str(watch.canary), url=watch.url, port=watch.port)
        for name, content in made.items():
            (folder / f"{name}.mp4").write_bytes(
                content
            )  # found as videos; FFmpeg would know them by content
        assert annotate(folder, output=tmp_path / "out", num_inputs=len(made)) == 1
        assert watch.incidents() == []
    found = outcomes(tmp_path / "out")
    texts = {name for name in found if not name.endswith((".mov.mp4", ".mkv.mp4", ".wmv.mp4"))}
    assert len(texts) == 20
    for name in texts:
        status, error, message = found[name]
        assert (status, "not a video or sound file that FFmpeg recognises" in message) == ("failed", True), (
            error
        )
    assert found["script-command.wmv.mp4"] == ("ok", "", "")
