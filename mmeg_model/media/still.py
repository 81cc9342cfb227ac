"""A still picture -> a clip of one frame without sound, scaled as the frames of a video are."""

import av
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from mmeg_model.clip import FRAME_MS, SAMPLES_PER_FRAME, Clip
from mmeg_model.media.errors import MediaError
from mmeg_model.media.picture import Scaler


def jpeg_clip(content: bytes) -> Clip:
    """Decode a JPEG picture.

    Raises:
        MediaError: if it is none.
    """
    decoder = VideoCodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    try:
        frames = decoder.decode(Packet(content)) + decoder.decode(None) if content else []
    except av.error.FFmpegError as error:
        raise MediaError("decode", type(error).__name__, "the picture is no JPEG, or is damaged") from error
    if not frames:
        raise MediaError("decode", "NothingDecoded", "no picture could be decoded of it")
    return _clip(frames[0])


def grey_clip(pixels: NDArray[np.uint8]) -> Clip:
    """Make a clip of a grey picture, (height, width)."""
    return _clip(VideoFrame.from_ndarray(pixels, format="gray"))


def _clip(frame: VideoFrame) -> Clip:
    return Clip(
        0,
        FRAME_MS,
        Scaler().scale(frame)[None],
        np.ones(1, np.bool_),
        np.zeros(SAMPLES_PER_FRAME, np.int16),
        np.zeros(SAMPLES_PER_FRAME, np.bool_),
    )
