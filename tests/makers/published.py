"""Published files, without annotating anything."""

from collections.abc import Sequence
from pathlib import Path

from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef
from pipelines.outcomes import RunConstants
from pipelines.output_folder import LocalFolder
from pipelines.publish import publish
from pipelines.table_files import file_name
from pipelines.tables import Annotation, Failure, VideoPart, encode_annotations

SETTINGS = '{"tasks": ["emotion"], "window_ms": 6000}'
INFO = VideoInfo(
    duration_ms=12_000,
    stated_duration_ms=None,
    container="matroska,webm",
    video_codec="h264",
    width=640,
    height=360,
    rotation_degrees=0,
    audio_codec="aac",
)


def constants(run_id: str, *, keeps_versions: bool = False) -> RunConstants:
    return RunConstants(
        run_id, "a-model", "m" * 64, "s" * 64, SETTINGS, "0.1.0", keeps_versions=keeps_versions
    )


def ok(video: VideoRef) -> VideoPart:
    """A video of two clips that went well."""
    rows = [
        Annotation(
            clip_index=i,
            start_ms=6000 * i,
            end_ms=6000 * i + 6000,
            modalities="audio+video",
            probabilities={task: (1 - 0.1 * (len(labels) - 1), *[0.1] * (len(labels) - 1))
                           for task, labels in LABELS_BY_TASK.items()},
        )
        for i in range(2)
    ]  # fmt: skip
    return VideoPart(
        video, info=INFO, planned_clips=2, annotations=encode_annotations(rows), num_annotations=2,
        num_valid_frames=300, num_valid_samples=192_000,
    )  # fmt: skip


def failed(video: VideoRef | None) -> VideoPart:
    return VideoPart(video, failures=(Failure("find", "InvalidDataError", "no video"),))


def publish_slice(
    output: Path,
    parts: Sequence[VideoPart],
    *,
    run_id: str = "run-1",
    slice_index: int = 0,
    keeps_versions: bool = False,
) -> str:
    """Publish one shard of a slice; gives back its stem."""
    stem = f"run={run_id}/{file_name(slice_index=slice_index, shard=0, num_shards=1)}"
    publish(
        parts,
        output=LocalFolder(output),
        stem=stem,
        constants=constants(run_id, keeps_versions=keeps_versions),
    )
    return stem
