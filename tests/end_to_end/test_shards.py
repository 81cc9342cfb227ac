"""Whole runs over tar and Parquet shards."""

import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from makers.buckets import BUCKET, Proxy
from makers.shards import make_parquet, make_tar, webdataset_members
from makers.tables import read
from makers.video import Recipe, make_video

from mmeg_model.media.objects import look_up
from pipelines.cli import main

Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Four that differ in length and sound."""
    folder = tmp_path_factory.mktemp("videos")
    recipes = (
        Recipe("a.mp4", seconds=7),
        Recipe("b.mp4", seconds=3, audio=None),
        Recipe("c.mp4", seconds=13),
        Recipe("d.mp4", seconds=2, video=None),
    )
    return [make_video(folder, recipe).read_bytes() for recipe in recipes]


@pytest.fixture(scope="module")
def loose(videos: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos as files."""
    folder = tmp_path_factory.mktemp("loose")
    for number, content in enumerate(videos):
        (folder / f"{number:06d}.mp4").write_bytes(content)
    return folder


def rows_by_name(output: Path) -> Rows:
    """What the tables say of each video, apart from how long it took; by its name in a shard or a folder."""
    rows: Rows = {}
    for row in sorted(read(output, "annotations"), key=lambda row: row["clip_index"]):
        name = row["member"] or Path(row["video_uri"]).name
        happy = pytest.approx(row["perceived_emotion_probabilities"]["happiness"], abs=1e-3)
        place = (row["clip_index"], row["start_seconds"], row["end_seconds"], row["modalities"], happy)
        rows.setdefault(name, []).append(place)
    return rows


@pytest.fixture(scope="module")
def expected(loose: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    output = tmp_path_factory.mktemp("expected")
    assert main(["annotate", str(loose), "--output", str(output)]) == 0
    return rows_by_name(output)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_tar_gives_the_rows_of_its_files(
    name: str, videos: list[bytes], expected: Rows, tmp_path: Path, annotate: Any, capsys: Any
) -> None:
    shard = make_tar(tmp_path / name, webdataset_members(videos))
    assert annotate(shard, output=tmp_path / "out", num_inputs=4) == 0
    assert rows_by_name(tmp_path / "out") == expected
    assert {row["video_uri"] for row in read(tmp_path / "out", "videos")} == {str(shard)}
    assert "8 members of shards are neither video nor sound" in capsys.readouterr().err


@pytest.mark.parametrize("rows_per_group", [3, 100])
def test_a_parquet_gives_the_rows_of_its_files(
    rows_per_group: int, videos: list[bytes], expected: Rows, tmp_path: Path, annotate: Any
) -> None:
    columns = {"name": list(expected), "label": list(range(4)), "video": videos}
    shard = make_parquet(tmp_path / "a.parquet", columns, row_group_size=rows_per_group)
    flags = ("--bytes-column", "video", "--key-column", "name")
    assert annotate(shard, *flags, output=tmp_path / "out", num_inputs=4) == 0
    assert rows_by_name(tmp_path / "out") == expected


def test_shards_in_a_bucket(
    videos: list[bytes], expected: Rows, buckets: Proxy, tmp_path: Path, annotate: Any
) -> None:
    noise = random.Random(0).randbytes(3_000_000)  # a row group of more than one read
    shards = (
        make_tar(tmp_path / "a.tar", [("00.mp4", videos[0]), ("noise.bin", noise), ("01.mp4", videos[1])]),
        make_tar(tmp_path / "b.tar.gz", [("noise.bin", noise), ("2.mp4", videos[2])]),
        make_parquet(tmp_path / "c.parquet", {"key": ["3", "no"], "video": [videos[3], noise]}),
    )
    for shard in shards:
        buckets.upload(f"shards/{shard.name}", shard.read_bytes())
    uri = f"gs://{BUCKET}/shards/"
    assert annotate(uri, "--bytes-column", "video", output=tmp_path / "out", num_inputs=5) == 1
    names = ("00.mp4", "01.mp4", "2.mp4", "3")
    assert rows_by_name(tmp_path / "out") == dict(zip(names, expected.values(), strict=True))
    found = {row["member"]: row for row in read(tmp_path / "out", "videos")}
    assert found["no"]["status"] == "failed"
    assert {row["video_version"] for row in found.values() if row["video_uri"] == f"{uri}a.tar"} == {
        look_up(f"{uri}a.tar", stage="find").generation
    }


def test_members_of_shards_and_files_in_one_run(
    videos: list[bytes], loose: Path, expected: Rows, tmp_path: Path, annotate: Any
) -> None:
    """A manifest that names files, a tar and a Parquet file; several shards of output; several slices."""
    make_tar(tmp_path / "a.tar", webdataset_members(videos))
    make_parquet(tmp_path / "b.parquet", {"key": ["x", "y"], "film": videos[:2]})
    (tmp_path / "list.txt").write_text(f"a.tar\n{loose}\nb.parquet\n")
    flags = ("--bytes-column", "film", "--num-shards", 3, "--slice-videos", 2)
    assert annotate(tmp_path / "list.txt", *flags, output=tmp_path / "out", num_inputs=10) == 0
    rows = rows_by_name(tmp_path / "out")
    assert rows["x"] == expected["000000.mp4"]
    assert rows["y"] == expected["000001.mp4"]
    assert len(rows["000002.mp4"]) == 2 * len(expected["000002.mp4"])  # of the tar, and of the folder


def test_what_is_done_of_a_shard_is_not_done_again(
    videos: list[bytes], tmp_path: Path, annotate: Any, capsys: Any
) -> None:
    shard, output = make_tar(tmp_path / "a.tar", webdataset_members(videos)), tmp_path / "out"
    assert annotate(shard, "--limit", 1, output=output, num_inputs=1) == 0
    assert [row["member"] for row in read(output, "videos")] == ["000000.mp4"]
    capsys.readouterr()
    assert annotate(shard, output=output, num_inputs=4) == 0
    assert "videos    3: 3 ok, 0 partial, 0 failed; done before: 1 ok" in capsys.readouterr().out
    assert annotate(shard, output=output, num_inputs=4) == 0
    assert "videos    0: 0 ok, 0 partial, 0 failed; done before: 4 ok" in capsys.readouterr().out


def test_members_that_failed_before_are_counted_and_taken_again_if_asked(
    videos: list[bytes], tmp_path: Path, annotate: Any, capsys: Any
) -> None:
    shard, output = tmp_path / "a.tar", tmp_path / "out"
    members: list[Any] = [("good.mp4", videos[1]), ("bad.mp4", b"no video"), ("empty.mp4", b"")]
    make_tar(shard, members)
    assert annotate(shard, output=output, num_inputs=3) == 1
    assert annotate(shard, output=output, num_inputs=3) == 1
    assert "videos    0: 0 ok, 0 partial, 0 failed; done before: 2 failed, 1 ok" in capsys.readouterr().out
    assert annotate(shard, "--retry-failed", output=output, num_inputs=3) == 1
    assert "videos    2: 0 ok, 0 partial, 2 failed; done before: 1 ok" in capsys.readouterr().out


def test_another_version_of_a_shard_replaces_its_members_if_asked(
    videos: list[bytes], tmp_path: Path, annotate: Any, capsys: Any
) -> None:
    shard, output = tmp_path / "a.tar", tmp_path / "out"
    make_tar(shard, [("a.mp4", videos[0]), ("b.mp4", videos[1])])
    assert annotate(shard, output=output, num_inputs=2) == 0
    make_tar(shard, [("a.mp4", videos[2]), ("b.mp4", videos[1]), ("c.mp4", videos[1])])
    assert annotate(shard, output=output, num_inputs=3) == 0
    assert "2 videos are another version than the one in the tables" in capsys.readouterr().err
    assert annotate(shard, "--replace-changed", output=output, num_inputs=3) == 0
    seconds = {row["member"]: row["duration_seconds"] for row in read(output, "videos")}
    assert seconds["a.mp4"] == pytest.approx(13, abs=0.1)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_shard_that_was_cut_off_is_one_failed_row_beside_its_members(
    name: str, videos: list[bytes], tmp_path: Path, annotate: Any, capsys: Any
) -> None:
    shard, output = tmp_path / name, tmp_path / "out"
    make_tar(shard, [("a.mp4", videos[1]), ("b.mp4", videos[2]), ("c.mp4", videos[1])])
    shard.write_bytes(shard.read_bytes()[: len(videos[1]) + len(videos[2]) // 2])
    assert annotate(shard, output=output, num_inputs=2) == 1
    videos_found = {row["member"]: row["status"] for row in read(output, "videos")}
    assert videos_found == {"a.mp4": "ok", None: "failed"}
    (error,) = read(output, "errors")
    assert (error["stage"], error["error"], error["member"]) == ("find", "TruncatedShard", None)
    assert "cut off" in error["message"]
    capsys.readouterr()
    assert annotate(shard, output=output, num_inputs=2) == 1
    assert "videos    0: 0 ok, 0 partial, 0 failed; done before: 1 failed, 1 ok" in capsys.readouterr().out


def test_hostile_members_are_rows_and_no_more(videos: list[bytes], tmp_path: Path, annotate: Any) -> None:
    link = tarfile.TarInfo("link.mp4")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo("device.mp4")
    device.type = tarfile.CHRTYPE
    members = [
        ("../up.mp4", videos[1]),
        ("/etc/a.mp4", videos[1]),
        ("twice.mp4", b""),
        (link, b""),
        (device, b""),
    ]
    shard = make_tar(tmp_path / "a.tar", [*members, ("twice.mp4", videos[1]), ("README", b"x")])
    assert annotate(shard, output=tmp_path / "out", num_inputs=5) == 1
    statuses = {row["member"]: row["status"] for row in read(tmp_path / "out", "videos")}
    good = dict.fromkeys(("../up.mp4", "/etc/a.mp4", "twice.mp4"), "ok")
    assert statuses == good | dict.fromkeys(("link.mp4", "device.mp4"), "failed")
    assert {row["error"] for row in read(tmp_path / "out", "errors")} == {"NoRegularFile"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "out"]


def test_parquet_that_does_not_fit_is_one_failed_row(
    videos: list[bytes], tmp_path: Path, annotate: Any
) -> None:
    keys = ["a", None, "b", "b", "c"]
    rows = [videos[1], videos[1], videos[1], videos[1], None]
    make_parquet(tmp_path / "in" / "good.parquet", {"key": keys, "video": rows})
    make_parquet(tmp_path / "in" / "other.parquet", {"key": keys, "film": rows})
    output = tmp_path / "out"
    assert annotate(tmp_path / "in", "--bytes-column", "video", output=output, num_inputs=5) == 1
    statuses = {(Path(r["video_uri"]).stem, r["member"]): r["status"] for r in read(output, "videos")}
    assert statuses == {
        ("good", "a"): "ok",
        ("good", "b"): "ok",
        ("good", "c"): "failed",
        ("good", None): "failed",
        ("other", None): "failed",
    }
    messages = {row["error"]: row["message"] for row in read(output, "errors")}
    assert messages["NullBytes"] == "the column video is null in this row"
    assert messages["MissingColumn"].startswith("there is no column video, only key, film")
    assert messages["NullKey"] == (
        "row 1: no key in the column key; left out; "
        "row 3: a key in the column key that a row before has; left out"
    )


def test_limit_and_dry_run_count_members_in_the_order_found(
    videos: list[bytes], loose: Path, tmp_path: Path, annotate: Any, capsys: Any
) -> None:
    shard = make_tar(tmp_path / "a.tar.gz", [(f"{i}.mp4", videos[1]) for i in (3, 1, 2)])
    output = tmp_path / "out"
    inputs = (loose / "000001.mp4", shard, loose / "000000.mp4")
    assert main(["annotate", *map(str, inputs), "--output", str(output), "--dry-run", "--limit", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(inputs[0]), f"{shard}\t3.mp4", f"{shard}\t1.mp4"]
    assert "would annotate 3 videos; 0 are done already" in printed.err
    assert not output.exists()
    assert annotate(*inputs, "--limit", 3, output=output, num_inputs=3) == 0
    assert {row["member"] for row in read(output, "videos")} == {None, "3.mp4", "1.mp4"}
    capsys.readouterr()
    assert main(["annotate", *map(str, inputs), "--output", str(output), "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{shard}\t2.mp4", str(inputs[2])]
    assert "would annotate 2 videos; 3 are done already" in printed.err
    shard.write_bytes(b"no tar")
    assert main(["annotate", *map(str, inputs), "/nobody.mp4", "--output", str(output), "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert f"not readable: {shard}: " in printed.err
    assert "not found: /nobody.mp4: No such file" in printed.err


def test_a_key_column_needs_a_column_of_bytes(tmp_path: Path, capsys: Any) -> None:
    assert main(["annotate", str(tmp_path), "--key-column", "id", "--output", str(tmp_path / "out")]) == 2
    assert "name the column of their videos by --bytes-column" in capsys.readouterr().err


def test_the_row_of_a_shard_that_was_broken_leaves_when_it_is_whole(
    videos: list[bytes], tmp_path: Path, annotate: Any, capsys: Any
) -> None:
    shard, out = tmp_path / "a.tar", tmp_path / "out"
    shard.write_bytes(b"no tar" * 200)
    assert annotate(shard, output=out, num_inputs=1) == 1
    files = sorted(out.rglob("*.parquet"))
    assert annotate(shard, output=out, num_inputs=1) == 1, "it is still broken"
    assert sorted(out.rglob("*.parquet")) == files, "a run that found nothing to do leaves nothing"
    shard.unlink()
    make_tar(shard, webdataset_members(videos[1:2]))
    assert annotate(shard, output=out, num_inputs=1) == 0
    assert [(row["member"], row["status"]) for row in read(out, "videos")] == [("000000.mp4", "ok")]
    assert read(out, "errors") == []


def test_another_column_of_the_same_shard_is_refused(
    videos: list[bytes], loose: Path, tmp_path: Path, annotate: Any, capsys: Any
) -> None:
    shard, out = tmp_path / "a.parquet", tmp_path / "out"
    make_parquet(shard, {"key": ["x"], "front": videos[1:2], "back": videos[3:4]})
    assert annotate(loose / "000001.mp4", output=out, num_inputs=1) == 0
    assert annotate(shard, "--bytes-column", "front", output=out, num_inputs=2) == 0, "loose files go beside"
    assert annotate(shard, "--bytes-column", "back", output=out, num_inputs=2) == 2
    assert "bytes_column: front there, back now" in capsys.readouterr().err
    assert annotate(loose / "000003.mp4", output=out, num_inputs=3) == 0
