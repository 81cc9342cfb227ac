import dataclasses
import os
from pathlib import Path

import pytest

from mmeg_model.media.source import VideoRef
from pipelines.completed import RefusedError, read_completed, remove_orphans
from pipelines.outcomes import RunConstants
from pipelines.publish import file_stem, publish
from pipelines.tables import Failure, VideoPart

CONSTANTS = RunConstants(
    "run-1", "a-model", "m" * 64, "s" * 64, '{"tasks": ["emotion"], "window_ms": 6000}', "0.1.0"
)


def published(output: Path, *videos: VideoRef, constants: RunConstants = CONSTANTS) -> None:
    failure = Failure("open", "InvalidDataError", "no video")
    parts = [VideoPart(video, failures=(failure,)) for video in videos]
    publish(
        parts, output=output, file_name=file_stem(slice_index=0, shard=0, num_shards=1), constants=constants
    )


def test_what_is_done_is_known_by_name_and_version(tmp_path: Path) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"), VideoRef("/nobody.mp4"))
    completed = read_completed(tmp_path, CONSTANTS)
    assert completed.status(VideoRef("/a.mp4", "1")) == "failed"
    assert completed.status(VideoRef("/b.mp4", "1")) is None
    assert not completed.is_other_version(VideoRef("/a.mp4", "1"))
    assert completed.status(VideoRef("/a.mp4", "2")) == "failed"
    assert completed.is_other_version(VideoRef("/a.mp4", "2"))
    assert not completed.is_other_version(VideoRef("/nobody.mp4"))


def test_an_output_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert read_completed(tmp_path / "none", CONSTANTS).by_name == {}


def test_other_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"))
    other = dataclasses.replace(CONSTANTS, settings_json='{"tasks": ["emotion"], "window_ms": 3000}')
    with pytest.raises(RefusedError, match=r"other settings \(window_ms: 6000 there, 3000 now\)"):
        read_completed(tmp_path, other)


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"))
    other = dataclasses.replace(CONSTANTS, model_name="b-model", model_sha256="n" * 64)
    with pytest.raises(
        RefusedError, match=r"results of the model a-model \(m+…\), and this run would use b-model"
    ):
        read_completed(tmp_path, other)


def test_orphans_are_removed_and_committed_files_stay(tmp_path: Path) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"))
    kept = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    folder = tmp_path / "annotations" / "run=run-0"
    folder.mkdir()
    stem = file_stem(slice_index=1, shard=0, num_shards=1)
    (folder / f"{stem}.parquet").write_bytes(b"annotations of a slice whose videos never came")
    (folder / f".{stem}.parquet.tmp").write_bytes(b"half")
    (folder / "mine.parquet").write_bytes(b"of somebody else")
    assert remove_orphans(tmp_path) == 2
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        [*kept, folder / "mine.parquet"]
    )


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
        "pipelines.completed.os.listdir", denied
    )  # the tests may run as root, whom nothing is denied
    with pytest.raises(PermissionError):
        remove_orphans(tmp_path)
    with pytest.raises(RefusedError, match="Permission denied"):
        read_completed(tmp_path, CONSTANTS)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    published(tmp_path, VideoRef("/a.mp4", "1"))
    (path,) = (tmp_path / "videos").rglob("*.parquet")
    path.write_bytes(content)
    with pytest.raises(
        RefusedError, match=rf"{path.name} is damaged .* remove it and the files of the same name"
    ):
        read_completed(tmp_path, CONSTANTS)
