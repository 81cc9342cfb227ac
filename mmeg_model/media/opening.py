"""From a video reference to a descriptor that a decoder process can read, wherever the bytes lie."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple, TypeAlias

from mmeg_model.media.errors import MediaError
from mmeg_model.media.objects import SCHEME, FoundObject, look_up, reader_of, version_changed
from mmeg_model.media.source import VideoRef, local_version
from mmeg_model.media.video_file import answering


class Handle(NamedTuple):
    """What one attempt at decoding is given: see `mmeg_model.media.video_file.VideoFile`."""

    descriptor: int
    start_byte: int
    num_bytes: int | None


Handles: TypeAlias = Callable[[], AbstractContextManager[Handle]]
"""Makes a handle for one attempt, which ends with its context: what one child got is of no use to the next."""


@contextmanager
def opened(video: VideoRef, *, patience_seconds: float) -> Iterator[Handles]:
    """Open a video for reading, in the version that it was found in.

    Args:
        video: in a local file, or in an object, which is then read by this process for the one that decodes.
        patience_seconds: for how long a request to a bucket that could succeed later is repeated.

    Raises:
        MediaError: if it is not there, may not be read, is no regular file (a pipe would hang, a folder has no
            bytes), or is another version by now.
    """
    if video.location.startswith(SCHEME):
        found = look_up(video.location, stage="open", patience_seconds=patience_seconds)
        _check_version(video, found.generation)
        yield partial(_answering, found, video, patience_seconds)
        return
    descriptor = _open_local(video)
    try:
        _check_version(video, local_version(os.fstat(descriptor)))
        yield lambda: nullcontext(Handle(descriptor, video.start_byte, video.num_bytes))
    finally:
        os.close(descriptor)


@contextmanager
def _answering(found: FoundObject, video: VideoRef, patience_seconds: float) -> Iterator[Handle]:
    num_bytes = max(0, found.num_bytes - video.start_byte) if video.num_bytes is None else video.num_bytes
    with answering(reader_of(found, patience_seconds=patience_seconds)) as descriptor:
        yield Handle(descriptor, video.start_byte, num_bytes)


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
        raise version_changed(video.uri, now=version, then=video.version)
