import dataclasses
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers.published import constants, failed, ok, publish_slice

from mmeg_model.media.source import VideoRef
from pipelines.completed import RefusedError, newest_run, read_completed
from pipelines.done_videos import Retake
from pipelines.output_folder import LocalFolder
from pipelines.tables import TABLES

CONSTANTS = constants("run-2")


def published(output: Path, *videos: VideoRef) -> str:
    return publish_slice(output, [failed(video) for video in videos])


def test_what_is_done_is_known_by_name_and_version(tmp_path: Path) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"), VideoRef("/nobody.mp4"))
    completed = read_completed(LocalFolder(tmp_path), CONSTANTS)
    assert completed.videos.status(VideoRef("/a.mp4", "1")) == "failed"
    assert completed.videos.status(VideoRef("/b.mp4", "1")) is None
    assert not completed.videos.is_other_version(VideoRef("/a.mp4", "1"))
    assert completed.videos.status(VideoRef("/a.mp4", "2")) == "failed"
    assert completed.videos.is_other_version(VideoRef("/a.mp4", "2"))
    assert not completed.videos.is_other_version(VideoRef("/nobody.mp4"))


def test_an_output_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert len(read_completed(LocalFolder(tmp_path / "none"), CONSTANTS).videos) == 0
    assert newest_run(LocalFolder(tmp_path / "none")) == ""


def test_other_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"))
    other = dataclasses.replace(CONSTANTS, settings_json='{"tasks": ["emotion"], "window_ms": 3000}')
    with pytest.raises(RefusedError, match=r"other settings \(window_ms: 6000 there, 3000 now\)"):
        read_completed(LocalFolder(tmp_path), other)


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"))
    other = dataclasses.replace(CONSTANTS, model_name="b-model", model_sha256="n" * 64)
    with pytest.raises(
        RefusedError, match=r"results of the model a-model \(m+…\), and this run would use b-model"
    ):
        read_completed(LocalFolder(tmp_path), other)


def test_what_cannot_be_listed_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"))
    before = sorted(tmp_path.rglob("*"))
    listdir = os.listdir

    def denied(path: Path) -> list[str]:
        if "videos" in Path(path).parts:
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(
        "pipelines.output_folder.os.listdir", denied
    )  # the tests may run as root, whom nothing is denied
    with pytest.raises(RefusedError, match="Permission denied"):
        read_completed(LocalFolder(tmp_path), CONSTANTS)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", [slice(0, None), slice(16, None), slice(100, 1_000)])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, place: slice) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"))
    (path,) = (tmp_path / "videos").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[place] = bytes(900 if place.stop else 0)
    path.write_bytes(content)
    with pytest.raises(
        RefusedError, match=rf"{path.name} is damaged .* remove it and the files of the same name"
    ):
        read_completed(LocalFolder(tmp_path), CONSTANTS)


@pytest.mark.parametrize("table", ["annotations", "errors"])
def test_a_file_that_is_missing_beside_its_videos_is_refused_by_name(tmp_path: Path, table: str) -> None:
    publish_slice(tmp_path, [ok(VideoRef("/a.mp4", "1"))])
    stem = publish_slice(tmp_path, [ok(VideoRef("/b.mp4", "1"))], slice_index=1)
    missing = tmp_path / table / f"{stem}.parquet"
    missing.rename(missing.with_name(f".{missing.name}.tmp"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RefusedError, match=rf"{missing} is missing, .*rows are there; nothing was touched"):
        read_completed(LocalFolder(tmp_path), CONSTANTS)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "errors" / f"{stem}.parquet").unlink(missing_ok=True)
    (tmp_path / "annotations" / f"{stem}.parquet").unlink(missing_ok=True)
    with pytest.raises(RefusedError, match=r"annotations/.* is missing, .* \(1 more files are missing so\)"):
        read_completed(LocalFolder(tmp_path), CONSTANTS)
    (tmp_path / "videos" / f"{stem}.parquet").unlink()
    completed = read_completed(LocalFolder(tmp_path), CONSTANTS).videos
    assert completed.status(VideoRef("/a.mp4", "1")) == "ok"
    assert completed.status(VideoRef("/b.mp4", "1")) is None


def test_files_that_another_run_has_removed_meanwhile_are_not_missing(tmp_path: Path) -> None:
    """A dry run looks without the lock."""
    stem = published(tmp_path, VideoRef("/a.mp4", "1"))
    completed = read_completed(LocalFolder(tmp_path))
    for table in TABLES:
        (tmp_path / table / f"{stem}.parquet").unlink()
    assert completed.missing_files(LocalFolder(tmp_path)) == []


def test_the_newest_run_holds_and_tells_which_rows_are_superseded(tmp_path: Path) -> None:
    a, b = VideoRef("/a.mp4", "1"), VideoRef("/b.mp4", "1")
    old = publish_slice(tmp_path, [failed(a), ok(b)], run_id="run-1")
    new = publish_slice(tmp_path, [ok(VideoRef("/a.mp4", "2"))], run_id="run-2")
    completed = read_completed(LocalFolder(tmp_path))
    assert completed.videos.status(a) == "ok"
    assert completed.videos.is_other_version(a)
    assert completed.superseded == {old: {a.key}}
    assert completed.superseded_by([a.name_key, VideoRef("/c.mp4").name_key]) == {
        new: {VideoRef("/a.mp4", "2").key}
    }
    assert newest_run(LocalFolder(tmp_path)) == "run-2"


@pytest.mark.parametrize(
    ("retake", "to_do"),
    [
        (Retake(), set()),
        (Retake(failed=True), {"/bad.mp4", "/bad-and-changed.mp4"}),
        (Retake(changed=True), {"/changed.mp4", "/bad-and-changed.mp4"}),
        (Retake(failed=True, changed=True), {"/bad.mp4", "/changed.mp4", "/bad-and-changed.mp4"}),
    ],
)
def test_what_is_taken_again(tmp_path: Path, retake: Retake, to_do: set[str]) -> None:
    old = {name: VideoRef(f"/{name}.mp4", "1") for name in ("good", "bad", "changed", "bad-and-changed")}
    publish_slice(tmp_path, [failed(video) if "bad" in name else ok(video) for name, video in old.items()])
    done = read_completed(LocalFolder(tmp_path), retake=retake).videos
    now = [VideoRef(v.location, "2" if "changed" in name else "1") for name, v in old.items()]
    assert {video.location for video in now if done.status(video) is None} == to_do


def test_members_of_a_shard_are_known_by_themselves(tmp_path: Path) -> None:
    members = [VideoRef("/s.tar", "1", f"{i}.mp4") for i in range(5)]
    others = [VideoRef("/t.tar", "1", "0.mp4"), VideoRef("/s.tar", "1")]
    publish_slice(tmp_path, [ok(video) for video in members + others])
    done = read_completed(LocalFolder(tmp_path)).members_done("/s.tar")
    assert len(done) == 5
    assert [done.status(video) for video in members] == ["ok"] * 5
    assert [done.status(video) for video in others] == [None, None]
    assert len(read_completed(LocalFolder(tmp_path)).members_done("/u.tar")) == 0


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 10**9), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_every_video_is_found_and_no_other(
    tmp_path_factory, numbers: set[int], random: random.Random
) -> None:
    output = tmp_path_factory.mktemp("out")
    videos = [VideoRef(f"/{number}.mp4", str(number % 3)) for number in numbers]
    random.shuffle(videos)
    done, other = videos[: len(videos) // 2], videos[len(videos) // 2 :]
    publish_slice(output, [ok(video) for video in done])
    completed = read_completed(LocalFolder(output)).videos
    assert [completed.status(video) for video in done] == ["ok"] * len(done)
    assert [completed.status(video) for video in other] == [None] * len(other)
    assert not any(map(completed.is_other_version, done))


def test_keys_that_end_in_zeros_are_whole(tmp_path: Path) -> None:
    # numpy leaves zeros at the end of fixed bytes out.
    video = next(v for i in range(10**6) if (v := VideoRef(f"/{i}.mp4", "1")).name_key[-1] == 0)
    stem = publish_slice(tmp_path, [ok(video)])
    completed = read_completed(LocalFolder(tmp_path))
    assert completed.videos.status(video) == "ok"
    assert completed.superseded_by([video.name_key]) == {stem: {video.key}}


def test_versions_that_a_stream_left_side_by_side_both_count_until_they_are_compacted(tmp_path: Path) -> None:
    first, second = VideoRef("/a.mp4", "9-1"), VideoRef("/a.mp4", "9-2")
    old = publish_slice(tmp_path, [ok(first)], run_id="run-1")
    new = publish_slice(tmp_path, [failed(second)], run_id="run-2", keeps_versions=True)
    completed = read_completed(LocalFolder(tmp_path))
    assert completed.superseded == {}
    assert (completed.has_version(first), completed.has_version(second)) == (True, True)
    assert not completed.has_version(VideoRef("/a.mp4", "9-3"))
    assert completed.videos.status(first) == "failed", "of a name the newest run holds"
    assert read_completed(LocalFolder(tmp_path), keep_versions=False).superseded == {old: {first.key}}
    publish_slice(tmp_path, [ok(second)], run_id="run-3", keeps_versions=True)
    assert read_completed(LocalFolder(tmp_path)).superseded == {new: {second.key}}, "the same version"


def test_a_run_that_replaces_supersedes_all_versions(tmp_path: Path) -> None:
    first, second, third = (VideoRef("/a.mp4", f"9-{n}") for n in (1, 2, 3))
    old = publish_slice(tmp_path, [ok(first)], run_id="run-1", keeps_versions=True)
    new = publish_slice(tmp_path, [ok(second)], run_id="run-2", keeps_versions=True)
    publish_slice(tmp_path, [ok(third)], run_id="run-3")
    assert read_completed(LocalFolder(tmp_path)).superseded == {old: {first.key}, new: {second.key}}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_versions_in_one_run_the_later_one_holds(tmp_path: Path, order: tuple[int, int]) -> None:
    """Their shards and slices say nothing about that."""
    videos = VideoRef("/a.mp4", "1000-9"), VideoRef("/a.mp4", "9-10")
    stems = [
        publish_slice(tmp_path, [ok(videos[i])], slice_index=n, keeps_versions=True)
        for n, i in enumerate(order)
    ]
    superseded = read_completed(LocalFolder(tmp_path), keep_versions=False).superseded
    assert superseded == {stems[order.index(0)]: {videos[0].key}}


def test_the_files_of_the_run_itself_may_be_passed_over(tmp_path: Path) -> None:
    video = VideoRef("/a.mp4", "1")
    publish_slice(tmp_path, [ok(video)], run_id="run-1")
    assert read_completed(LocalFolder(tmp_path), before="run-2").has_version(video)
    assert not read_completed(LocalFolder(tmp_path), before="run-1").has_version(video)


def test_a_worker_that_begins_anew_leaves_what_is_missing_to_the_next_start(tmp_path: Path) -> None:
    stem = published(tmp_path, VideoRef("/a.mp4", "1"))
    (tmp_path / "errors" / f"{stem}.parquet").unlink()
    assert len(read_completed(LocalFolder(tmp_path), before="run-2").videos) == 1


def test_a_file_that_is_renamed_while_others_look_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run looks without the lock, beside a run that is at work."""
    published(tmp_path, VideoRef("/a.mp4", "1"))
    listdir = os.listdir

    def with_one_that_is_gone(path: Path) -> list[str]:
        gone = [".slice-000001-batch-shard-00000-of-00001.parquet.tmp"] if "run=" in str(path) else []
        return [*listdir(path), *gone]

    monkeypatch.setattr("pipelines.output_folder.os.listdir", with_one_that_is_gone)
    assert len(read_completed(LocalFolder(tmp_path), CONSTANTS).videos) == 1
