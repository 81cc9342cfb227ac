from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef
from pipelines import output_folder
from pipelines import publish as publish_module
from pipelines.outcomes import RunConstants
from pipelines.output_folder import LocalFolder
from pipelines.publish import publish, shard_of
from pipelines.tables import SCHEMAS, TABLES, Annotation, Failure, VideoPart, encode_annotations

CONSTANTS = RunConstants("run-1", "a-model", "m" * 64, "s" * 64, '{"tasks": ["emotion"]}', "0.1.0")
INFO = VideoInfo(
    duration_ms=18_000,
    stated_duration_ms=None,
    container="matroska,webm",
    video_codec="h264",
    width=640,
    height=360,
    rotation_degrees=0,
    audio_codec="aac",
)


def annotations(first: int, count: int, *, clip_ms: int = 6000, happiness: float = 0.7) -> VideoPart:
    rest = (1 - happiness) / 3
    rows = [
        Annotation(
            clip_index=i,
            start_ms=i * clip_ms,
            end_ms=(i + 1) * clip_ms,
            modalities="audio+video",
            probabilities={"emotion": (rest, rest, happiness, rest)},
        )
        for i in range(first, first + count)
    ]
    return VideoPart(
        VIDEO,
        annotations=encode_annotations(rows),
        num_annotations=count,
        num_valid_frames=150 * count,
        num_valid_samples=96_000 * count,
        decode_seconds=0.5,
        inference_seconds=0.25,
    )


VIDEO = VideoRef("/v/a.mkv", "10-1")
PLAN = VideoPart(VIDEO, info=INFO, planned_clips=3)


def published(output: Path, parts: list[VideoPart]) -> dict[str, list[dict[str, Any]]]:
    publish(parts, output=LocalFolder(output), stem="run=run-1/slice-000000", constants=CONSTANTS)
    return {
        table: pq.read_table(output / table / "run=run-1" / "slice-000000.parquet").to_pylist()
        for table in TABLES
    }


def test_a_video_whose_parts_come_in_any_order_is_ok(tmp_path: Path) -> None:
    tables = published(tmp_path, [annotations(1, 2), PLAN, annotations(0, 1, happiness=0.4)])
    (video,) = tables["videos"]
    assert (video["status"], video["clips"], video["failed_clips"]) == ("ok", 3, 0)
    assert (video["decode_seconds"], video["inference_seconds"]) == (1.0, 0.5)
    assert (video["duration_seconds"], video["width"], video["has_audio"]) == (18.0, 640, True)
    # by hand: clips of equal length, so the mean of 0.4, 0.7, 0.7
    assert video["mean_perceived_emotion_probabilities"]["happiness"] == pytest.approx(0.6, abs=1e-6)
    assert video["mean_perceived_gender_probabilities"] is None
    assert [row["clip_index"] for row in tables["annotations"]] == [0, 1, 2]
    first = tables["annotations"][0]
    assert (first["video_uri"], first["video_version"], first["member"]) == ("/v/a.mkv", "10-1", None)
    assert (first["start_seconds"], first["end_seconds"], first["perceived_emotion"]) == (
        0.0,
        6.0,
        "happiness",
    )
    assert first["perceived_emotion_confidence"] == pytest.approx(0.4, abs=1e-6)
    assert (first["perceived_gender"], first["perceived_gender_probabilities"]) == (None, None)
    assert tables["errors"] == []


def test_means_are_weighted_by_duration(tmp_path: Path) -> None:
    long = annotations(0, 1, clip_ms=9000, happiness=0.4)
    short = annotations(3, 1, clip_ms=3000, happiness=0.8)
    (video,) = published(tmp_path, [VideoPart(VIDEO, info=INFO, planned_clips=2), long, short])["videos"]
    # by hand: (9 · 0.4 + 3 · 0.8) / 12
    assert video["mean_perceived_emotion_probabilities"]["happiness"] == pytest.approx(0.5, abs=1e-6)


def test_a_lost_span_makes_a_video_partial(tmp_path: Path) -> None:
    lost = Failure("decode", "DecoderKilled", "the decoder was killed by signal SIGSEGV", 0, 6000)
    tables = published(
        tmp_path, [PLAN, annotations(1, 2), VideoPart(VIDEO, failed_clips=1, failures=(lost,))]
    )
    assert [(v["status"], v["clips"], v["failed_clips"]) for v in tables["videos"]] == [("partial", 3, 1)]
    (error,) = tables["errors"]
    assert (error["stage"], error["error"], error["start_seconds"], error["end_seconds"]) == (
        "decode",
        "DecoderKilled",
        0.0,
        6.0,
    )


def test_a_stream_that_yields_nothing_makes_a_video_partial(tmp_path: Path) -> None:
    silent = annotations(0, 3)
    silent = VideoPart(**{**vars(silent), "num_valid_samples": 0})
    tables = published(tmp_path, [PLAN, silent])
    assert [v["status"] for v in tables["videos"]] == ["partial"]
    assert [e["message"] for e in tables["errors"]] == [
        "the container promises sound (aac), but none could be decoded"
    ]


def test_a_stream_is_not_called_empty_where_a_span_was_lost(tmp_path: Path) -> None:
    silent = VideoPart(**{**vars(annotations(1, 2)), "num_valid_samples": 0})
    lost = VideoPart(VIDEO, failed_clips=1, failures=(Failure("decode", "DecoderKilled", "killed", 0, 6000),))
    errors = published(tmp_path, [PLAN, silent, lost])["errors"]
    assert [error["error"] for error in errors] == ["DecoderKilled"]


def test_a_video_that_was_never_planned_has_failed_without_clips(tmp_path: Path) -> None:
    failure = Failure("open", "InvalidDataError", "no video")
    (video,) = published(tmp_path, [VideoPart(VIDEO, failures=(failure,))])["videos"]
    assert (video["status"], video["clips"], video["failed_clips"], video["has_audio"]) == (
        "failed",
        0,
        0,
        None,
    )


def test_a_failure_of_no_video_stands_in_errors_alone(tmp_path: Path) -> None:
    tables = published(tmp_path, [VideoPart(None, failures=(Failure("find", "NothingFound", "no file"),))])
    assert tables["videos"] == []
    assert [e["video_uri"] for e in tables["errors"]] == [None]


def test_lost_clips_are_found_out_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="3 clips were planned, but 2 annotations and 0 failures arrived"):
        published(tmp_path, [PLAN, annotations(0, 2)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_empty_tables_are_written_and_can_be_queried(tmp_path: Path) -> None:
    published(tmp_path, [])
    for table in TABLES:
        columns = duckdb.sql(
            f"describe from read_parquet('{tmp_path}/{table}/**/*.parquet', hive_partitioning=false)"
        )
        assert [row[0] for row in columns.fetchall()] == SCHEMAS[table].names


def test_the_schema_version_and_the_settings_stand_in_the_file(tmp_path: Path) -> None:
    published(tmp_path, [PLAN, annotations(0, 3)])
    for table in TABLES:
        schema = pq.read_schema(next((tmp_path / table).rglob("*.parquet")))
        assert schema.equals(SCHEMAS[table])
        assert schema.metadata[b"schema_version"] == b"1"
        assert schema.metadata[b"settings"] == b'{"tasks": ["emotion"]}'


def test_a_retry_overwrites_its_own_files(tmp_path: Path) -> None:
    parts = [PLAN, annotations(0, 3)]
    first = published(tmp_path, parts)
    again = published(tmp_path, parts)
    assert len(list(tmp_path.rglob("*.parquet"))) == 3
    assert [row["clip_index"] for row in again["annotations"]] == [
        row["clip_index"] for row in first["annotations"]
    ]


def test_many_rows_become_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_module, "ROWS_PER_GROUP", 10)
    plan = VideoPart(VIDEO, info=INFO, planned_clips=28)
    tables = published(tmp_path, [plan, *(annotations(first, 4) for first in range(0, 28, 4))])
    assert [row["clip_index"] for row in tables["annotations"]] == list(range(28))
    file = pq.ParquetFile(tmp_path / "annotations" / "run=run-1" / "slice-000000.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [12, 12, 4]


def test_a_failure_while_writing_leaves_no_file(tmp_path: Path) -> None:
    def parts() -> Any:
        yield PLAN
        yield annotations(0, 3)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        publish(parts(), output=LocalFolder(tmp_path), stem="run=run-1/x", constants=CONSTANTS)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_videos_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = output_folder.os.replace

    def recording(source: Path, target: Path) -> None:
        order.append(target.parts[-3])
        replace(source, target)

    monkeypatch.setattr(output_folder.os, "replace", recording)
    published(tmp_path, [PLAN, annotations(0, 3)])
    assert order == ["annotations", "errors", "videos"]


def test_all_parts_of_a_video_go_to_one_shard() -> None:
    parts = [VideoPart(VideoRef(f"/v/{i}.mp4", "1")) for i in range(200)]
    shards = [shard_of(part, num_shards=4) for part in parts]
    assert set(shards) == {0, 1, 2, 3}
    assert shards == [shard_of(VideoPart(part.video, planned_clips=3), num_shards=4) for part in parts]
    assert shard_of(VideoPart(None), num_shards=4) == 0
