"""Whole runs over tar and Parquet shards."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from makers.shards import make_parquet, make_tar, webdataset_members
from makers.tables import read
from makers.video import Recipe, make_video

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
    from pipelines.cli import main

    output = tmp_path_factory.mktemp("expected")
    assert main(["annotate", str(loose), "--output", str(output)]) == 0
    return rows_by_name(output)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_a_tar_gives_the_rows_of_its_files(
    name: str, videos: list[bytes], expected: Rows, tmp_path: Path, annotate: Any, capsys: Any
) -> None:
    shard = make_tar(tmp_path / name, webdataset_members(videos))
    assert annotate(shard, output=tmp_path / "out", num_inputs=4) == 0
    assert rows_by_name(tmp_path / "out") == expected
    assert {row["video_uri"] for row in read(tmp_path / "out", "videos")} == {str(shard)}
    assert "8 members of shards are neither video nor sound" in capsys.readouterr().err


@pytest.mark.parametrize("rows_per_group", [1, 3, 100])
def test_a_parquet_gives_the_rows_of_its_files(
    rows_per_group: int, videos: list[bytes], expected: Rows, tmp_path: Path, annotate: Any
) -> None:
    columns = {"name": list(expected), "label": list(range(4)), "video": videos}
    shard = make_parquet(tmp_path / "a.parquet", columns, row_group_size=rows_per_group)
    flags = ("--bytes-column", "video", "--key-column", "name")
    assert annotate(shard, *flags, output=tmp_path / "out", num_inputs=4) == 0
    assert rows_by_name(tmp_path / "out") == expected
