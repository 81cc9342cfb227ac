"""What the network sees: one clip of a video, as numpy arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FRAME_RATE_HZ: Final = 25
FRAME_MS: Final = 1000 // FRAME_RATE_HZ
FRAME_SIZE: Final = 96
SAMPLE_RATE_HZ: Final = 16_000
SAMPLES_PER_FRAME: Final = SAMPLE_RATE_HZ // FRAME_RATE_HZ
SAMPLES_PER_MS: Final = SAMPLE_RATE_HZ // 1000


def num_frames_between(start_ms: int, end_ms: int) -> int:
    """Number of 40 ms frames that cover [start_ms, end_ms), a last part of one counted whole."""
    return -(-(end_ms - start_ms) // FRAME_MS)


@dataclass(frozen=True, eq=False)
class Clip:
    """The part [start_ms, end_ms) of one video, decoded; start_ms is a multiple of 40.

    Raises:
        ValueError: if the time range or the arrays' shapes or types do not fit together.
    """

    start_ms: int
    end_ms: int
    frames: NDArray[np.uint8]
    """RGB, (T, 96, 96, 3), where T = ceil((end_ms - start_ms) / 40). Zero where not valid."""
    frames_valid: NDArray[np.bool_]
    """(T,). False before the picture's first time stamp and after its end."""
    samples: NDArray[np.int16]
    """16 kHz mono, (T * 640,). Zero where not valid."""
    samples_valid: NDArray[np.bool_]
    """(T * 640,). False where the sound track has nothing at that time."""

    def __post_init__(self) -> None:
        if not 0 <= self.start_ms < self.end_ms or self.start_ms % FRAME_MS:
            raise ValueError(
                f"a clip needs 0 <= start < end with start a multiple of {FRAME_MS} ms, "
                f"got {self.start_ms = }, {self.end_ms = }"
            )
        t = num_frames_between(self.start_ms, self.end_ms)
        for name, shape, dtype in (
            ("frames", (t, FRAME_SIZE, FRAME_SIZE, 3), np.uint8),
            ("frames_valid", (t,), np.bool_),
            ("samples", (t * SAMPLES_PER_FRAME,), np.int16),
            ("samples_valid", (t * SAMPLES_PER_FRAME,), np.bool_),
        ):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name} must be {dtype.__name__} {shape}, got {array.dtype} {array.shape}")

    @property
    def has_video(self) -> bool:
        """Whether the picture counts: at least one valid frame."""
        return bool(self.frames_valid.any())

    @property
    def has_audio(self) -> bool:
        """Whether the sound counts: at least 40 ms of it."""
        return int(self.samples_valid.sum()) >= SAMPLES_PER_FRAME


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Clips of unlike lengths, padded to the longest with zeros that count as not valid.

    Numpy and uint8 until it reaches the network: a quarter of the bytes of float32.
    """

    frames: NDArray[np.uint8]
    """RGB, (B, T, 96, 96, 3)."""
    frames_valid: NDArray[np.bool_]
    """(B, T)."""
    samples: NDArray[np.int16]
    """16 kHz mono, (B, T * 640)."""
    samples_valid: NDArray[np.bool_]
    """(B, T * 640)."""

    def __post_init__(self) -> None:
        b, t = self.frames_valid.shape
        if (
            self.frames.shape != (b, t, FRAME_SIZE, FRAME_SIZE, 3)
            or self.samples.shape != (b, t * SAMPLES_PER_FRAME)
            or self.samples_valid.shape != self.samples.shape
        ):
            raise ValueError(
                f"shapes do not fit together: {self.frames.shape = }, {self.frames_valid.shape = }, "
                f"{self.samples.shape = }, {self.samples_valid.shape = }"
            )

    @property
    def has_video(self) -> NDArray[np.bool_]:
        """(B,): whether the picture of each clip counts, as `Clip.has_video`."""
        return np.logical_or.reduce(self.frames_valid, axis=1)

    @property
    def has_audio(self) -> NDArray[np.bool_]:
        """(B,): whether the sound of each clip counts, as `Clip.has_audio`."""
        return np.asarray(self.samples_valid.sum(axis=1) >= SAMPLES_PER_FRAME)


def pad(clips: Sequence[Clip]) -> ClipBatch:
    """Put clips into one batch, padded to the longest.

    Raises:
        ValueError: if there are none.
    """
    if not clips:
        raise ValueError("a batch needs at least one clip")
    b, t = len(clips), max(len(clip.frames_valid) for clip in clips)
    frames = np.zeros((b, t, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    frames_valid = np.zeros((b, t), np.bool_)
    samples = np.zeros((b, t * SAMPLES_PER_FRAME), np.int16)
    samples_valid = np.zeros((b, t * SAMPLES_PER_FRAME), np.bool_)
    for i, clip in enumerate(clips):
        if clip.has_video:  # else their memory is never touched, nor paid for
            frames[i, : len(clip.frames)] = clip.frames
        frames_valid[i, : len(clip.frames_valid)] = clip.frames_valid
        samples[i, : len(clip.samples)] = clip.samples
        samples_valid[i, : len(clip.samples_valid)] = clip.samples_valid
    return ClipBatch(frames, frames_valid, samples, samples_valid)
