"""From a video reference to a descriptor that a decoder process can read, wherever the bytes lie."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, TypeAlias

from mmeg_model.media.errors import MediaError
from mmeg_model.media.source import VideoRef, local_version


class Handle(NamedTuple):
    """What one attempt at decoding is given: see `mmeg_model.media.video_file.VideoFile`."""

    descriptor: int
    start_byte: int
    num_bytes: int | None


Handles: TypeAlias = Callable[[], AbstractContextManager[Handle]]
"""Makes a handle for one attempt, which ends with its context: what one child got is of no use to the next."""


@contextmanager
def opened(video: VideoRef) -> Iterator[Handles]:
    """Open a video for reading, in the version that it was found in.

    Raises:
        MediaError: if it is not there, may not be read, is no regular file (a pipe would hang, a folder has no
            bytes), or is another version by now.
    """
    descriptor = _open_local(video)
    try:
        _check_version(video, local_version(os.fstat(descriptor)))
        yield lambda: nullcontext(Handle(descriptor, video.start_byte, video.num_bytes))
    finally:
        os.close(descriptor)


def _open_local(video: VideoRef) -> int:
    try:
        descriptor = os.open(video.location, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise MediaError(
            "open", type(error).__name__, f"{video.uri} cannot be opened: {error.strerror}"
        ) from error
    except ValueError as error:  # a NUL in its name
        raise MediaError("open", type(error).__name__, str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MediaError("open", "ValueError", f"{video.uri} is no regular file")
    return descriptor


def _check_version(video: VideoRef, version: str) -> None:
    if video.version not in (None, version):
        raise MediaError(
            "open",
            "VersionChanged",
            f"{video.uri} is now {version}, it was {video.version} when it was found",
        )
