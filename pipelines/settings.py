"""What a run does to every video alike: the part of the options that decides what the rows say."""

import hashlib
import json
from dataclasses import asdict, dataclass

from mmeg_model import clip
from mmeg_model.labels import LABELS_BY_TASK
from mmeg_model.media import DECODE_VERSION
from mmeg_model.media.windows import WINDOW_MS
from pipelines.tables import SCHEMA_VERSION


@dataclass(frozen=True)
class Settings:
    """Whatever changes keys, times, modalities or probabilities of the rows, apart from the model.

    Device, precision, batch size, span length, shards, runner and limits are not settings: rows do not
    depend on them.

    Raises:
        ValueError: if no task, or an unknown one, is named, or the window is not a multiple of 40 ms.
    """

    tasks: tuple[str, ...] = tuple(LABELS_BY_TASK)
    window_ms: int = WINDOW_MS
    bytes_column: str | None = None
    """Of Parquet shards; None: none are read."""
    key_column: str | None = None

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in LABELS_BY_TASK]
        if unknown or not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(
                f"tasks must be one or more of {', '.join(LABELS_BY_TASK)}, each once, got {', '.join(self.tasks)!r}"
            )
        if self.window_ms <= 0 or self.window_ms % clip.FRAME_MS:
            raise ValueError(
                f"the window must be a positive multiple of {clip.FRAME_MS} ms, got {self.window_ms} ms"
            )
        in_order = tuple(task for task in LABELS_BY_TASK if task in self.tasks)
        object.__setattr__(self, "tasks", in_order)

    def canonical(self) -> dict[str, object]:
        """Everything that `sha256` covers, as plain JSON values; the columns of Parquet shards if such are read."""
        columns = ("bytes_column", "key_column")
        return {
            **{
                name: value
                for name, value in asdict(self).items()
                if name not in columns or self.bytes_column
            },
            "tasks": list(self.tasks),
            "crop": "whole",
            "frame_rate_hz": clip.FRAME_RATE_HZ,
            "frame_size": clip.FRAME_SIZE,
            "sample_rate_hz": clip.SAMPLE_RATE_HZ,
            "decode_version": DECODE_VERSION,
            "schema_version": SCHEMA_VERSION,
        }

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
