"""What one video may have, and what one decoder may use, whatever headers ask for."""

import math
from dataclasses import dataclass, fields
from typing import Final

SMALLEST_MEMORY_BYTES: Final = 128 << 20
MOST_SECONDS: Final = 2_147_483
"""25 days: milliseconds in 32 bits."""


@dataclass(frozen=True)
class VideoLimits:
    """Beyond these a video fails, with an error that names the limit and the option that raises it.

    Raises:
        ValueError: if one of them is not positive, or the seconds are more than clips can be numbered for.
    """

    max_pixels: int = 1 << 26
    """Of one picture, width times height: 8192 × 8192. FFmpeg decodes none above 2^28, whatever stands here."""
    max_seconds: int = 172_800
    """From the video's zero to the end of its last packet: two days. A forged stamp makes a long list of windows."""
    max_bytes: int = 1_000_000_000_000
    max_streams: int = 256
    """Pictures, sounds, subtitles and attachments together; FFmpeg takes up to a megabyte for each."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} = {getattr(self, field.name)} must be positive")
        if self.max_seconds > MOST_SECONDS:
            raise ValueError(f"{self.max_seconds = } must be at most {MOST_SECONDS}")


@dataclass(frozen=True)
class DecoderLimits:
    """What one child may use.

    Raises:
        ValueError: if the deadline is not positive and finite, or the memory too small for a child to start.
    """

    deadline_seconds: float
    """How long the parent waits for one child over one request: a probe, or the clips of a span. Time in which
    the parent does not ask for the next clip is not counted."""
    memory_bytes: int
    """Private memory of one child (RLIMIT_DATA), of which Python, numpy and FFmpeg take 80 MB."""
    video: VideoLimits = VideoLimits()
    unpacked_bytes: int = 16 << 30
    """What all children together may unpack into the temporary folder at a time; also the most that one compressed
    shard, or one row group of a Parquet shard, may unpack to."""

    def __post_init__(self) -> None:
        if not 0 < self.deadline_seconds < math.inf:
            raise ValueError(f"{self.deadline_seconds = } must be positive and finite")
        if self.memory_bytes < SMALLEST_MEMORY_BYTES:
            raise ValueError(
                f"{self.memory_bytes = } must be at least {SMALLEST_MEMORY_BYTES} for a child to start"
            )
