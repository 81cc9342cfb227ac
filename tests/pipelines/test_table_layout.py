"""The tables at the size of an archive: few files, and queries that read a fraction of them."""

import re
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from makers.published import constants, ok

from mmeg_model.media.source import VideoRef
from pipelines import publish as publish_module
from pipelines.output_folder import LocalFolder
from pipelines.publish import publish
from pipelines.table_files import file_name
from pipelines.tables import TABLES, VideoPart


def video(number: int) -> VideoRef:
    # By their hashes, as a shard's videos come: in no order of their names.
    return VideoRef(f"gs://archive/{number * 7919 % 100_003:06d}.mp4", "1")


def published(output: Path, days: int, *, monkeypatch: pytest.MonkeyPatch, num_videos: int) -> None:
    for day in range(days):

        class Then(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:
                return datetime(2026, 3, 1 + day, 12, tzinfo=UTC)  # noqa: B023 - used before the next day

        monkeypatch.setattr(publish_module, "datetime", Then)
        stem = f"run=run-{day}/{file_name(slice_index=0, shard=0, num_shards=1)}"
        numbers = range(day * num_videos, (day + 1) * num_videos)
        publish(
            (ok(video(n)) for n in numbers),
            output=LocalFolder(output),
            stem=stem,
            constants=constants(f"run-{day}"),
        )


def row_groups(output: Path, condition: str) -> tuple[int, int, int]:
    """How many row groups a query reads, of how many in those files that it opens, and how many rows it finds."""
    source = f"read_parquet('{output}/annotations/**/*.parquet', hive_partitioning = false)"
    query = f"select avg(perceived_emotion_confidence) from {source} where {condition}"
    account = duckdb.sql(f"explain analyze {query}").fetchall()[0][1]
    (read,), (found,) = (
        duckdb.sql(f"select count(*) from {source} {where}").fetchall()[0]
        for where in ("", f"where {condition}")
    )
    assert read > found > 0
    scanned, there = map(int, re.search(r"Row Groups Scanned: (\d+) / (\d+)", account).groups())
    return scanned, there, found


def test_a_query_for_one_video_or_one_day_reads_a_fraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_module, "ROWS_PER_GROUP", 400)  # so that this test need not write millions
    published(tmp_path, days=4, num_videos=1000, monkeypatch=monkeypatch)
    for path in (tmp_path / "annotations").rglob("*.parquet"):
        with pq.ParquetFile(path) as file:
            assert file.num_row_groups == 5
    scanned, there, found = row_groups(tmp_path, f"video_uri = '{video(1234).uri}'")
    assert found == 2
    assert scanned <= 2, f"of {there}: one that holds it, and one in a hundred that the filter is wrong about"
    scanned, there, found = row_groups(
        tmp_path, "annotated_at between '2026-03-02 00:00:00+00' and '2026-03-02 23:59:59+00'"
    )
    assert (scanned, found) == (5, 2000)


def test_the_number_of_files_does_not_depend_on_that_of_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for num_videos in (10, 2000):
        published(tmp_path / str(num_videos), days=2, num_videos=num_videos, monkeypatch=monkeypatch)
        assert len(list((tmp_path / str(num_videos)).rglob("*.parquet"))) == 2 * len(TABLES)


def test_publishing_needs_no_more_memory_for_a_larger_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_module, "ROWS_PER_GROUP", 500)
    monkeypatch.setattr(publish_module, "VIDEOS_PER_GROUP", 250)

    def parts(num_videos: int) -> Iterator[VideoPart]:
        return (ok(video(n)) for n in range(num_videos))

    peaks = []
    for num_videos in (500, 1000, 5000):
        tracemalloc.start()
        publish(
            parts(num_videos),
            output=LocalFolder(tmp_path),
            stem=f"run=x/{num_videos}",
            constants=constants("x"),
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]
