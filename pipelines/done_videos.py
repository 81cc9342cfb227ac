"""Which videos are done, in little room: what a run asks of each that it finds."""

from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from mmeg_model.media.source import VideoRef
from pipelines.tables import Status

KEY_TYPE: Final = "S16"
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
"""By their numbers in `DoneVideos`."""


@dataclass(frozen=True)
class Retake:
    """Which videos that are done are annotated once more."""

    failed: bool = False
    """Failed and partial ones, in whatever version."""
    changed: bool = False
    """Those that are another version now."""


NONE_AGAIN: Final = Retake()


@dataclass(frozen=True)
class DoneVideos:
    """Videos that are done, 33 bytes each: what a million of them needs, and what travels to where shards are indexed."""

    names: NDArray[np.bytes_]
    """Keys (uri, member) of 16 bytes, sorted."""
    versions: NDArray[np.bytes_]
    """Of each, the key of the version that is done."""
    statuses: NDArray[np.uint8]
    retake: Retake = NONE_AGAIN

    def __len__(self) -> int:
        return len(self.names)

    def status(self, video: VideoRef) -> Status | None:
        """The outcome of this video, in whatever version; None if it is still, or again, to be done."""
        row = self.row(video.name_key)
        if row is None:
            return None
        status = STATUSES[self.statuses[row]]
        is_retaken = (self.retake.failed and status != "ok") or (
            self.retake.changed and self._is_other_version(row, video)
        )
        return None if is_retaken else status

    def is_other_version(self, video: VideoRef) -> bool:
        """Whether it is another version of this video that is done."""
        row = self.row(video.name_key)
        return row is not None and self._is_other_version(row, video)

    def row(self, name_key: bytes) -> int | None:
        """The place of a video in the arrays."""
        row = int(np.searchsorted(self.names, np.array(name_key, KEY_TYPE)))
        return row if row < len(self.names) and whole_key(self.names[row]) == name_key else None

    def _is_other_version(self, row: int, video: VideoRef) -> bool:
        return whole_key(self.versions[row]) != video.key


def whole_key(key: bytes) -> bytes:
    """A key as numpy gives it back, with the zeros at its end that it leaves out."""
    return bytes(key).ljust(16, b"\0")
