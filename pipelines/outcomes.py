"""What became of a video: the sum of its parts, and the rows that say it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef
from pipelines.tables import Failure, Status, VideoPart

KEEPS_VERSIONS: Final = b"keeps_versions"
"""In the metadata of files of runs that leave other versions of a video as they are: their rows supersede none."""


@dataclass(frozen=True)
class RunConstants:
    """What every row of a run has in common; the writer adds it, so that it need not travel."""

    run_id: str
    model_name: str
    model_sha256: str
    settings_sha256: str
    settings_json: str
    mmeg_version: str
    keeps_versions: bool = False
    """Whether a new version of a video stands beside an older one, until they are compacted."""

    @property
    def file_metadata(self) -> dict[bytes, bytes]:
        """What stands in the metadata of each file."""
        kept = {KEEPS_VERSIONS: b"true"} if self.keeps_versions else {}
        return {b"settings": self.settings_json.encode(), **kept}

    @property
    def holder(self) -> str:
        """What the run is called in the lock of its output."""
        return f"run {self.run_id}"


@dataclass
class Outcome:
    """The running outcome of one video."""

    info: VideoInfo | None = None
    is_planned: bool = False
    planned_clips: int = 0
    num_annotations: int = 0
    failed_clips: int = 0
    failures: list[Failure] = field(default_factory=list)
    num_valid_frames: int = 0
    num_valid_samples: int = 0
    decode_seconds: float = 0.0
    inference_seconds: float = 0.0
    annotated_seconds: float = 0.0
    weighted_probabilities: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, part: VideoPart) -> None:
        self.info = part.info or self.info
        self.is_planned |= part.is_plan
        self.planned_clips += part.planned_clips
        self.num_annotations += part.num_annotations
        self.failed_clips += part.failed_clips
        self.failures += part.failures
        self.num_valid_frames += part.num_valid_frames
        self.num_valid_samples += part.num_valid_samples
        self.decode_seconds += part.decode_seconds
        self.inference_seconds += part.inference_seconds

    def add_rows(self, rows: pa.Table) -> None:
        """Weight the probabilities of each clip by its duration."""
        seconds = pc.subtract(rows["end_seconds"], rows["start_seconds"])
        self.annotated_seconds += pc.sum(seconds).as_py()
        for task, labels in LABELS_BY_TASK.items():
            column = rows[f"perceived_{task}_probabilities"]
            if column.null_count:
                continue
            sums = self.weighted_probabilities.setdefault(task, dict.fromkeys(labels, 0.0))
            for label in labels:
                weighted = pc.multiply(pc.struct_field(column, label), seconds)
                sums[label] += pc.sum(weighted).as_py()

    @property
    def is_complete(self) -> bool:
        """Whether all parts are there."""
        return self.is_planned and self.num_annotations + self.failed_clips == self.planned_clips

    def finish(self, video: VideoRef) -> None:
        """Hold the sums against each other, once all parts are there.

        Raises:
            RuntimeError: if clips were lost or doubled on the way, which no input may bring about.
        """
        if not self.is_complete:
            raise RuntimeError(
                f"{video.uri}: {self.planned_clips} clips were planned, but {self.num_annotations} annotations "
                f"and {self.failed_clips} failures arrived"
            )
        if self.info is not None and self.num_annotations and not self.failed_clips:
            self.failures += empty_streams(self.info, self.num_valid_frames, self.num_valid_samples)

    @property
    def status(self) -> Status:
        if not self.num_annotations:
            return "failed"
        return "partial" if self.failures else "ok"

    def mean_probabilities(self, task: str) -> dict[str, float] | None:
        sums = self.weighted_probabilities.get(task)
        return sums and {label: total / self.annotated_seconds for label, total in sums.items()}


def empty_streams(info: VideoInfo, num_valid_frames: int, num_valid_samples: int) -> list[Failure]:
    """The streams that the container promises and that yielded nothing in the whole video."""
    return [
        Failure(
            "decode", "EmptyStream", f"the container promises {what} ({codec}), but none could be decoded"
        )
        for what, codec, amount in (
            ("a picture", info.video_codec, num_valid_frames),
            ("sound", info.audio_codec, num_valid_samples),
        )
        if codec is not None and not amount
    ]


def run_columns(constants: RunConstants, now: datetime) -> dict[str, object]:
    return {
        "model_name": constants.model_name,
        "model_sha256": constants.model_sha256,
        "settings_sha256": constants.settings_sha256,
        "mmeg_version": constants.mmeg_version,
        "run_id": constants.run_id,
        "annotated_at": now,
    }


def video_columns(video: VideoRef | None) -> dict[str, object]:
    if video is None:
        return {"video_uri": None, "video_version": None, "member": None}
    return {"video_uri": video.uri, "video_version": video.version, "member": video.member}


def outcome_rows(
    sums: dict[VideoRef | None, Outcome], constants: RunConstants, now: datetime
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The rows of `videos` and of `errors`."""
    videos: list[dict[str, object]] = []
    errors: list[dict[str, object]] = []
    for video, outcome in sorted(
        sums.items(), key=lambda item: (item[0].uri, item[0].member or "") if item[0] else ("", "")
    ):
        if video is not None:
            outcome.finish(video)
            info = outcome.info
            videos.append(
                {
                    **video_columns(video),
                    "status": outcome.status,
                    "clips": outcome.planned_clips,
                    "failed_clips": outcome.failed_clips,
                    "duration_seconds": info and info.duration_ms / 1000,
                    "width": info and info.width,
                    "height": info and info.height,
                    "video_codec": info and info.video_codec,
                    "audio_codec": info and info.audio_codec,
                    "has_audio": info and info.audio_codec is not None,
                    "has_video": info and info.video_codec is not None,
                    **{
                        f"mean_perceived_{t}_probabilities": outcome.mean_probabilities(t)
                        for t in LABELS_BY_TASK
                    },
                    "decode_seconds": outcome.decode_seconds,
                    "inference_seconds": outcome.inference_seconds,
                    **run_columns(constants, now),
                }
            )
        errors += [
            {
                **video_columns(video),
                "stage": failure.stage,
                "error": failure.error,
                "message": failure.message,
                "start_seconds": None if failure.start_ms is None else failure.start_ms / 1000,
                "end_seconds": None if failure.end_ms is None else failure.end_ms / 1000,
                "run_id": constants.run_id,
                "occurred_at": now,
            }
            for failure in sorted(outcome.failures, key=lambda failure: failure.start_ms or 0)
        ]
    return videos, errors
