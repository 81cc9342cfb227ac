"""The Arrow schemas of the three tables, and what travels to the publisher in place of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import pyarrow as pa

from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.media.errors import MediaError, Stage
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.source import VideoRef

SCHEMA_VERSION: Final = 1

Table = Literal["annotations", "errors", "videos"]
TABLES: Final[tuple[Table, ...]] = get_args(Table)
"""In the order in which they are committed: a video counts as done when its `videos` row is there."""

Status = Literal["ok", "partial", "failed"]
Modalities = Literal["audio+video", "audio", "video"]

_VIDEO: Final = [("video_uri", pa.string()), ("video_version", pa.string()), ("member", pa.string())]
_RUN: Final = [
    ("model_name", pa.string()),
    ("model_sha256", pa.string()),
    ("settings_sha256", pa.string()),
    ("mmeg_version", pa.string()),
    ("run_id", pa.string()),
    ("annotated_at", pa.timestamp("us", tz="UTC")),
]


def probabilities_type(task: str) -> pa.DataType:
    """A struct of float32 with a field per label of the task."""
    return pa.struct([(label, pa.float32()) for label in LABELS_BY_TASK[task]])


CLIPS: Final = pa.schema(
    [
        ("clip_index", pa.int32()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        *(
            field
            for task in LABELS_BY_TASK
            for field in (
                (f"perceived_{task}", pa.string()),
                (f"perceived_{task}_confidence", pa.float32()),
                (f"perceived_{task}_probabilities", probabilities_type(task)),
            )
        ),
        ("modalities", pa.string()),
    ]
)
"""The columns of `annotations` that differ within a video: what travels between stages."""

_COLUMNS: Final[dict[Table, list[Any]]] = {
    "annotations": [*_VIDEO, *CLIPS, *_RUN],
    "errors": [
        *_VIDEO,
        ("stage", pa.string()),
        ("error", pa.string()),
        ("message", pa.string()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("run_id", pa.string()),
        ("occurred_at", pa.timestamp("us", tz="UTC")),
    ],
    "videos": [
        *_VIDEO,
        ("status", pa.string()),
        ("clips", pa.int32()),
        ("failed_clips", pa.int32()),
        ("duration_seconds", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("video_codec", pa.string()),
        ("audio_codec", pa.string()),
        ("has_audio", pa.bool_()),
        ("has_video", pa.bool_()),
        *((f"mean_perceived_{task}_probabilities", probabilities_type(task)) for task in LABELS_BY_TASK),
        ("decode_seconds", pa.float64()),
        ("inference_seconds", pa.float64()),
        *_RUN,
    ],
}
SCHEMAS: Final[dict[Table, pa.Schema]] = {
    table: pa.schema(columns, metadata={"schema_version": str(SCHEMA_VERSION)})
    for table, columns in _COLUMNS.items()
}


@dataclass(frozen=True)
class Failure:
    """Something that went wrong with a video, or with the part [start_ms, end_ms) of it: a row of `errors`."""

    stage: Stage
    error: str
    message: str
    start_ms: int | None = None
    end_ms: int | None = None

    @classmethod
    def of(cls, error: MediaError, *, start_ms: int | None = None, end_ms: int | None = None) -> "Failure":
        """The failure that an error of the media package stands for."""
        return cls(error.stage, error.error, error.message, start_ms, end_ms)


@dataclass(frozen=True)
class Annotation:
    """What the network says of one clip, and what the clip really had."""

    clip_index: int
    start_ms: int
    end_ms: int
    modalities: Modalities
    probabilities: dict[str, tuple[float, ...]]
    """Per task, in the order of its labels; a task that is switched off is not there."""


@dataclass(frozen=True)
class VideoPart:
    """Some of what became of one video; the sum of its parts is its outcome.

    A few hundred bytes and a few dozen for each clip: cheap to move and to group.
    """

    video: VideoRef | None
    """None for a failure of stage `find` that belongs to no video, such as a glob that yields nothing."""
    info: VideoInfo | None = None
    """In the part that planning sends."""
    planned_clips: int = 0
    annotations: bytes = b""
    """Rows of schema `CLIPS` as an Arrow IPC stream; empty for none."""
    num_annotations: int = 0
    failed_clips: int = 0
    failures: tuple[Failure, ...] = ()
    num_valid_frames: int = 0
    num_valid_samples: int = 0
    """Whether a stream that the container promises has yielded anything."""
    decode_seconds: float = 0.0
    inference_seconds: float = 0.0

    @property
    def is_plan(self) -> bool:
        """Whether it is the one part that says how many clips there are to be, or why there are none."""
        return self.info is not None or not (self.num_annotations or self.failed_clips)


def encode_annotations(annotations: Sequence[Annotation]) -> bytes:
    """Rows of schema `CLIPS` as an Arrow IPC stream."""
    columns: dict[str, list[object]] = {name: [] for name in CLIPS.names}
    for annotation in annotations:
        columns["clip_index"].append(annotation.clip_index)
        columns["start_seconds"].append(annotation.start_ms / 1000)
        columns["end_seconds"].append(annotation.end_ms / 1000)
        columns["modalities"].append(annotation.modalities)
        for task, labels in LABELS_BY_TASK.items():
            given = annotation.probabilities.get(task)
            best = given.index(max(given)) if given else 0
            columns[f"perceived_{task}"].append(labels[best] if given else None)
            columns[f"perceived_{task}_confidence"].append(given[best] if given else None)
            columns[f"perceived_{task}_probabilities"].append(
                dict(zip(labels, given, strict=True)) if given else None
            )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, CLIPS) as writer:
        writer.write_batch(pa.record_batch(columns, schema=CLIPS))
    return sink.getvalue().to_pybytes()


def decode_annotations(encoded: bytes) -> pa.Table:
    """The rows that `encode_annotations` wrote."""
    with pa.ipc.open_stream(encoded) as reader:
        return reader.read_all()
