"""What a container says of itself, and where it really ends."""

from dataclasses import dataclass
from typing import BinaryIO

from mmeg_model.media.errors import MediaError


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded. Times in whole ms, zero is the container's start time.

    Raises:
        ValueError: if neither stream is there, or the duration is not positive.
    """

    duration_ms: int
    """To the end of the last packet, found by demuxing the tail; the header is not believed."""
    stated_duration_ms: int | None
    """What the header of a container with an index says, else None."""
    container: str
    """FFmpeg's name of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    video_codec: str | None
    """None if there is no picture (cover art is none)."""
    width: int | None
    height: int | None
    """In pixels, as shown: after rotation."""
    rotation_degrees: int
    """How far the stored picture is turned counter-clockwise to be shown: 0, 90, 180 or 270."""
    audio_codec: str | None

    def __post_init__(self) -> None:
        if self.video_codec is None and self.audio_codec is None:
            raise ValueError("a video needs a picture or a sound stream")
        if self.duration_ms <= 0:
            raise ValueError(f"{self.duration_ms = } must be positive")


def probe(file: BinaryIO) -> VideoInfo:
    """Look at a video's header and demux its tail."""
    raise MediaError("probe", "Missing", "probing is being written")
