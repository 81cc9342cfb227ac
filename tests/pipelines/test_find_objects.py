"""Inputs that lie in buckets."""

import threading
import time
from pathlib import Path

import pytest
from makers.buckets import BUCKET, Fault, Proxy

from mmeg_model.media import objects
from pipelines.find_videos import FindReport, Found, find_videos

NAMES = (
    "videos/.hidden.mp4",
    "videos/.cache/d.mp4",
    "videos/",
    "videos/a.MKV",
    "videos/b.mp4",
    "videos/deep/",
    "videos/deep/c.wav",
    "videos/deep/d.txt",
    "videos/notes.txt",
    "videos2/e.mp4",
    "top.mp4",
)


@pytest.fixture
def archive(buckets: Proxy) -> Proxy:
    for name in NAMES:
        if not name.endswith("/"):
            buckets.upload(name, name.encode())
    return buckets


def at(name: str) -> str:
    return f"gs://{BUCKET}/{name}"


def names(found: list[Found]) -> list[str]:
    return [item.video.location.removeprefix(at("")) for item in found if item.video]


@pytest.mark.parametrize(
    ("name", "expected", "num_other"),
    [
        ("videos/", ["videos/a.MKV", "videos/b.mp4", "videos/deep/c.wav"], 2),
        ("videos", ["videos/a.MKV", "videos/b.mp4", "videos/deep/c.wav"], 2),
        ("", ["top.mp4", "videos/a.MKV", "videos/b.mp4", "videos/deep/c.wav", "videos2/e.mp4"], 2),
        ("videos/notes.txt", [], 0),  # a manifest
        ("videos/b.mp4", ["videos/b.mp4"], 0),
        ("videos/*.mp4", ["videos/b.mp4"], 0),
        ("videos/*", ["videos/a.MKV", "videos/b.mp4", "videos/deep/c.wav", "videos/notes.txt"], 1),
        ("**/*.wav", ["videos/deep/c.wav"], 0),
        ("videos*/[be].mp4", ["videos/b.mp4", "videos2/e.mp4"], 0),
        ("videos/deep/?.txt", ["videos/deep/d.txt"], 0),
        ("videos/.*/*.mp4", ["videos/.cache/d.mp4"], 0),
        ("v*/", ["videos/a.MKV", "videos/b.mp4", "videos/deep/c.wav", "videos2/e.mp4"], 2),
    ],
)
def test_what_names_mean(archive: Proxy, name: str, expected: list[str], num_other: int) -> None:
    report = FindReport()
    found = list(find_videos([at(name)], report))
    if name == "videos/notes.txt":  # names `videos/notes.txt` in its own folder
        expected = ["videos/videos/notes.txt"]
    assert names(found) == expected
    assert report.num_other_files == num_other


def test_a_video_has_its_generation_for_a_version_and_its_size(archive: Proxy) -> None:
    (named,) = find_videos([at("videos/b.mp4")])
    (listed,) = find_videos([at("videos/*.mp4")])
    assert named == listed
    assert named.video
    assert named.video.version == objects.look_up(at("videos/b.mp4"), stage="find").generation
    assert named.num_bytes == len(b"videos/b.mp4")


def test_the_bucket_by_its_name_alone(archive: Proxy) -> None:
    assert list(find_videos([f"gs://{BUCKET}"])) == list(find_videos([at("")]))


def test_only_what_begins_as_the_pattern_does_is_listed(archive: Proxy) -> None:
    list(find_videos([at("videos/d*/*.wav")]))
    (listing,) = (path for path in archive.paths if path.partition("?")[0].endswith("/o"))
    assert "prefix=videos/d&" in listing


def test_a_listing_streams(archive: Proxy) -> None:
    archive.page_size = 2
    found = find_videos([at("videos/")])
    assert next(found).video
    assert archive.num_requests("/o?") < 3
    assert len(list(found)) == 2


def test_named_twice_and_by_folder_and_glob_is_one_video(archive: Proxy) -> None:
    report = FindReport()
    found = list(find_videos([at("top.mp4"), at("top.mp4"), at("*.mp4"), at("")], report))
    assert len(names(found)) == 5
    assert report.num_repeated == 3


def test_a_name_that_exists_is_never_a_pattern(buckets: Proxy) -> None:
    buckets.upload("[1] a*b?.mp4", b"x")
    assert names(list(find_videos([at("[1] a*b?.mp4")]))) == ["[1] a*b?.mp4"]


def test_a_name_that_does_not_exist_is_a_failed_video_without_version(archive: Proxy) -> None:
    (found,) = find_videos([at("nobody.mp4")])
    assert found.video
    assert (found.video.location, found.video.version) == (at("nobody.mp4"), None)
    assert found.failure
    assert (found.failure.stage, found.failure.error) == ("find", "NotFound")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (at("*.avi"), f"the pattern gs://{BUCKET}/*.avi matches no object"),
        (at("nothing/"), f"gs://{BUCKET}/nothing/ holds no video or sound file"),
        ("gs://no-such-bucket/v/", "gs://no-such-bucket/v/ does not exist"),
        ("gs://buck*/v.mp4", "`buck*` is no name of a bucket"),
        ("gs://", "`` is no name of a bucket"),
    ],
)
def test_what_yields_nothing_is_a_failure_of_no_video(buckets: Proxy, name: str, message: str) -> None:
    (found,) = find_videos([name])
    assert found.failure
    assert found.failure.stage == "find"
    assert message in found.failure.message


def test_a_bucket_that_may_not_be_listed_says_so(archive: Proxy) -> None:
    archive.faults.append(Fault("/o?", 403, times=10))
    (found,) = find_videos([at("videos/")])
    assert found.video is None
    assert found.failure
    assert found.failure.error == "Forbidden"
    assert "needs the role Storage Object Viewer" in found.failure.message


def test_a_listing_that_breaks_off_yields_what_it_had_and_says_so(archive: Proxy) -> None:
    archive.page_size = 4
    archive.faults.append(Fault("pageToken", 403))
    found = list(find_videos([at("")]))
    assert names(found) == ["top.mp4", "videos/a.MKV"]
    assert [item.failure.error for item in found if item.failure] == ["Forbidden"]


def test_a_manifest_names_objects_folders_and_globs_beside_its_own_folder(
    archive: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "local.mp4").write_bytes(b"x")
    lines = ["b.mp4", "deep/", "../top.mp4", at("videos2/*.mp4"), str(tmp_path / "local.mp4"), "nobody.mp4"]
    archive.upload("videos/list.txt", "\n".join(lines).encode())
    found = list(find_videos([at("videos/list.txt")]))
    expected = ["videos/b.mp4", "videos/deep/c.wav", "top.mp4", "videos2/e.mp4"]
    assert names(found) == [*expected, str(tmp_path / "local.mp4"), "videos/nobody.mp4"]
    assert [bool(item.failure) for item in found] == [False] * 5 + [True]


def test_a_local_manifest_names_objects_in_its_order(archive: Proxy, tmp_path: Path) -> None:
    wanted = ["videos/b.mp4", "nobody.mp4", "top.mp4", "videos/deep/c.wav"] * 200
    (tmp_path / "list.jsonl").write_text("\n".join(f'{{"uri": "{at(name)}"}}' for name in wanted))
    report = FindReport()
    found = list(find_videos([str(tmp_path / "list.jsonl")], report))
    assert names(found) == wanted[:4]
    assert report.num_repeated == 796


def test_objects_of_a_manifest_are_looked_up_side_by_side(archive: Proxy, tmp_path: Path) -> None:
    """The first is answered only when the second has been asked for."""
    second_came = threading.Event()

    def hold_the_first(path: str) -> None:
        if "top.mp4" in path:
            second_came.set()
        if "videos/b.mp4" in path:
            assert second_came.wait(60)

    archive.on_request = hold_the_first
    (tmp_path / "list.txt").write_text(f"{at('videos/b.mp4')}\n{at('top.mp4')}\n")
    assert names(list(find_videos([str(tmp_path / "list.txt")]))) == ["videos/b.mp4", "top.mp4"]


def test_without_credentials_nothing_is_found_and_one_sentence_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    monkeypatch.setattr(objects, "_client", None)
    with pytest.raises(ValueError, match="Run `gcloud auth application-default login`"):
        list(find_videos(["gs://bucket/videos/"]))


@pytest.mark.parametrize("name", ["videos/", "videos/b.mp4"])
def test_an_object_appears_when_it_is_created(archive: Proxy, name: str) -> None:
    """Listed or looked up."""
    blob = archive.bucket.get_blob("videos/b.mp4")
    (found,) = [
        item for item in find_videos([at(name)]) if item.video and item.video.uri == at("videos/b.mp4")
    ]
    assert found.appeared_ns == round(blob.time_created.timestamp() * 1e6) * 1_000
    assert abs(found.appeared_ns - time.time_ns()) < 600 * 10**9
