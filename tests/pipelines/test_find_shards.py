import os
from pathlib import Path

import pytest

from pipelines.find_videos import FindReport, find_videos

NAMES = ("a.mp4", "b.tar", "c.TAR.GZ", "d.tgz", "e.tar.bz2", "f.tar.xz", "g.parquet", "h.gz", "deep/i.tar")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def shards_and_files(
    root: Path, *inputs: object, parquet_shards: bool = False
) -> tuple[list[str], list[str]]:
    """The names of what was found: shards, and videos."""
    names: tuple[list[str], list[str]] = ([], [])
    for item in find_videos([str(name) for name in inputs], parquet_shards=parquet_shards):
        assert item.video
        assert item.failure is None
        assert item.num_bytes == 5
        names[not item.is_shard].append(os.path.relpath(item.video.location, root))
    return names


def test_a_tar_in_a_folder_is_a_shard_and_parquet_is_another_file(archive: Path) -> None:
    report = FindReport()
    assert len(list(find_videos([str(archive)], report))) == 7
    assert report.num_other_files == 2  # g.parquet, h.gz
    shards, videos = shards_and_files(archive, archive)
    assert shards == ["b.tar", "c.TAR.GZ", "d.tgz", "e.tar.bz2", "f.tar.xz", "deep/i.tar"]
    assert videos == ["a.mp4"]


def test_parquet_is_a_shard_in_a_folder_if_a_column_of_bytes_is_named(archive: Path) -> None:
    shards, _ = shards_and_files(archive, archive, parquet_shards=True)
    assert shards == ["b.tar", "c.TAR.GZ", "d.tgz", "e.tar.bz2", "f.tar.xz", "g.parquet", "deep/i.tar"]


def test_shards_by_name_and_by_glob(archive: Path) -> None:
    named = (archive / "b.tar", archive / "g.parquet", archive / "*.tar.*", archive / "h.gz")
    shards, videos = shards_and_files(archive, *named, parquet_shards=True)
    assert shards == ["b.tar", "g.parquet", "e.tar.bz2", "f.tar.xz"]
    assert videos == ["h.gz"]


def test_a_parquet_that_is_named_is_a_manifest_without_a_column_of_bytes(archive: Path) -> None:
    with pytest.raises(ValueError, match=r"g\.parquet is damaged: it is no Parquet file"):
        list(find_videos([str(archive / "g.parquet")]))


def test_a_manifest_may_name_shards(archive: Path) -> None:
    (archive / "list.txt").write_text("b.tar\na.mp4\ng.parquet\n")
    assert shards_and_files(archive, archive / "list.txt", parquet_shards=True) == (
        ["b.tar", "g.parquet"],
        ["a.mp4"],
    )


def test_a_shard_that_is_not_there_is_a_failed_video(tmp_path: Path) -> None:
    (found,) = find_videos([str(tmp_path / "nobody.tar")])
    assert found.failure
    assert found.failure.stage == "find"
    assert not found.is_shard
