"""`mmeg annotate` over videos in a bucket, behind a server that fails as Cloud Storage does."""

import gc
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from makers.buckets import BUCKET, Fault, Proxy
from makers.promises import assert_promises
from makers.tables import by_name, read
from makers.video import Recipe, make_video

from mmeg_model.media.objects import look_up
from pipelines.cli import main

RECIPES = (
    Recipe("a.mp4", seconds=8),
    Recipe("b.mkv", seconds=7, video_options={"bf": "2"}),
    Recipe("c.wav", video=None, audio="pcm_s16le", seconds=5),
)
NOT_OF_THE_ROWS = {"video_uri", "video_version", "run_id", "annotated_at", "occurred_at", "decode_seconds"}
NOT_OF_THE_ROWS |= {"inference_seconds"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good ones, and one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    for recipe in RECIPES:
        make_video(folder, recipe)
    (folder / "broken.mp4").write_bytes(b"this is not a video")
    return folder


@pytest.fixture
def archive(buckets: Proxy, videos: Path) -> Proxy:
    for path in videos.iterdir():
        buckets.upload(f"archive/{path.name}", path.read_bytes())
    return buckets


def rows(output: Path, table: str) -> list[dict]:
    """What a table says, by the names of the videos, without what differs between a bucket and a disk."""
    kept = []
    for row in read(output, table):
        name = os.path.basename(row["video_uri"])
        kept.append({"name": name} | {key: row[key] for key in row if key not in NOT_OF_THE_ROWS})
    return sorted(kept, key=lambda row: (row["name"], row.get("clip_index", 0)))


def test_rows_of_a_bucket_are_those_of_a_folder(
    annotate, archive: Proxy, videos: Path, tmp_path: Path
) -> None:
    assert annotate(videos, output=tmp_path / "near", num_inputs=4) == 1
    inputs = (f"gs://{BUCKET}/archive/", f"gs://{BUCKET}/**/*.mkv", f"gs://{BUCKET}/archive/a.mp4")
    assert annotate(*inputs, output=tmp_path / "far", num_inputs=4) == 1
    for table in ("annotations", "videos", "errors"):
        assert rows(tmp_path / "far", table) == rows(tmp_path / "near", table), table
    found = by_name(read(tmp_path / "far", "videos"))
    uri = f"gs://{BUCKET}/archive/a.mp4"
    assert found["a.mp4"]["video_uri"] == uri
    assert found["a.mp4"]["video_version"] == look_up(uri, stage="find").generation


def test_what_is_done_is_not_done_again_and_another_generation_is_another_version(
    annotate, archive: Proxy, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"gs://{BUCKET}/archive/c.wav"
    assert annotate(uri, output=tmp_path / "out", num_inputs=1) == 0
    archive.paths.clear()
    assert annotate(uri, output=tmp_path / "out", num_inputs=1) == 0
    assert archive.num_requests("alt=media") == 0
    archive.upload("archive/c.wav", (videos / "a.mp4").read_bytes())
    annotate(uri, output=tmp_path / "out", num_inputs=1)
    assert archive.num_requests("alt=media") == 0
    assert "another version" in capsys.readouterr().err


@pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning"
)  # of answers that the library does not read
def test_each_object_that_fails_is_one_clear_row_and_the_others_are_well(
    annotate, archive: Proxy, videos: Path, tmp_path: Path
) -> None:
    """What cannot be read, what vanishes or is overwritten behind the finding; what fails for a while is read."""
    for name in ("forbidden", "deleted", "overwritten", "throttled", "overloaded", "dropped"):
        archive.upload(f"archive/{name}.mp4", (videos / "a.mp4").read_bytes())
    archive.faults += [
        Fault("forbidden.mp4?alt=media", 403, times=10**6),
        Fault("throttled.mp4?alt=media", 429),
        Fault("overloaded.mp4?alt=media", 503),
        Fault("dropped.mp4?alt=media"),
    ]
    is_listed = False

    def change_behind_the_listing(path: str) -> None:
        nonlocal is_listed
        if "/o/" in path and not is_listed:
            is_listed = True
            archive.delete("archive/deleted.mp4")
            archive.upload("archive/overwritten.mp4", b"another")

    archive.on_request = change_behind_the_listing
    assert (
        annotate(f"gs://{BUCKET}/archive/", f"gs://{BUCKET}/nobody.mp4", output=tmp_path, num_inputs=11) == 1
    )
    gc.collect()
    videos_by_name = by_name(read(tmp_path, "videos"))
    ok = ("a.mp4", "b.mkv", "c.wav", "throttled.mp4", "overloaded.mp4", "dropped.mp4")
    assert [videos_by_name[name]["status"] for name in ok] == ["ok"] * 6
    assert videos_by_name["nobody.mp4"]["video_version"] is None
    failures = {name: (row["stage"], row["error"]) for name, row in by_name(read(tmp_path, "errors")).items()}
    assert failures == {
        "broken.mp4": ("open", "InvalidDataError"),
        "forbidden.mp4": ("open", "Forbidden"),
        "deleted.mp4": ("open", "NotFound"),
        "overwritten.mp4": ("open", "VersionChanged"),
        "nobody.mp4": ("find", "NotFound"),
    }
    assert not any(fault.times for fault in archive.faults[1:])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"gs://{BUCKET}/*.avi", "there is nothing to annotate: the pattern gs://.* matches no object"),
        ("gs://no-such-bucket/v/", "there is nothing to annotate: gs://no-such-bucket/v/ does not exist"),
        ("s3://bucket/v.mp4", "s3://bucket/v.mp4: only files on this machine and gs://… can be read"),
    ],
)
def test_where_nothing_can_be_found_nothing_is_touched(
    buckets: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert main(["annotate", name, "--output", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_without_credentials_one_sentence_says_so_at_once(mmeg: Callable, tmp_path: Path) -> None:
    surroundings = {key: value for key, value in os.environ.items() if key != "STORAGE_EMULATOR_HOST"}
    surroundings |= {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "nowhere.json")}
    done = mmeg("annotate", "gs://bucket/v/", "--output", tmp_path / "out", env=surroundings)
    assert done.returncode == 2
    assert "`gcloud auth application-default login`" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_in_a_process_of_its_own_says_nothing_beside_the_summary(
    mmeg: Callable, archive: Proxy, tmp_path: Path
) -> None:
    archive.upload("list.jsonl", b'{"uri": "archive/c.wav"}\n"archive/a.mp4"\n')
    done = mmeg("annotate", f"gs://{BUCKET}/list.jsonl", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_promises(tmp_path / "out", num_inputs=2)
