"""Opening a container safely, which of its streams count, and their clock."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, Final, TypeVar

import av
import av.logging
from av.audio.stream import AudioStream
from av.container import Flags, InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from mmeg_model.clip import FRAME_RATE_HZ
from mmeg_model.media.errors import MediaError, Stage
from mmeg_model.media.limits import VideoLimits

FORMATS: Final = "aac,ac3,asf,avi,flac,flv,matroska,mov,mp3,mpeg,mpegts,mpegvideo,ogg,wav"
"""The demuxers that FFmpeg may choose from: none that follows a link or opens a socket."""

_READ_BYTES: Final = 1 << 18
_GEN_PTS: Final = int(Flags.gen_pts.value)  # type: ignore[call-overload]
_NOT_A_PICTURE: Final = Disposition.attached_pic | Disposition.timed_thumbnails

AnyStream = TypeVar("AnyStream", VideoStream, AudioStream)


class Clock:
    """A stream's stamps, and the video's own clock, whose zero is the container's start time."""

    def __init__(self, *, start_us: int, unit: Fraction) -> None:
        """Take the container's start time in microseconds, and the unit of the stamps in seconds."""
        self._numerator, self._denominator = unit.numerator, unit.denominator
        self._zero = _divide(start_us * self._denominator, av.time_base * self._numerator)

    def at(self, stamp: int, rate: int) -> int:
        """The time of a stamp in units of 1/rate seconds, rounded as `av_rescale_q` does."""
        return _divide((stamp - self._zero) * self._numerator * rate, self._denominator)

    def stamp(self, ms: int) -> int:
        """The stamp at a time in milliseconds."""
        return self._zero + _divide(ms * self._denominator, 1000 * self._numerator)

    def duration(self, seconds: Fraction) -> int:
        """A duration in units of the stamps."""
        return _divide(seconds.numerator * self._denominator, seconds.denominator * self._numerator)


class Reader:
    """The bytes of a file without its name, since by a name FFmpeg would choose demuxers and follow links.

    A failure to read is kept: to FFmpeg, which would try again and again, it is the end of the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.tell = file.tell
        self._seek = file.seek
        self._read = file.read
        self._failure: Exception | None = None

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; none at the end, and where reading fails."""
        if self._failure is None:
            try:
                return self._read(size)
            except (OSError, MemoryError, MediaError) as error:
                self._failure = error
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek; a negative number where that cannot be, as broken headers ask for."""
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL

    def raise_failure(self, stage: Stage) -> None:
        """Raise what came instead of bytes, if anything did.

        Raises:
            MediaError: if the file could not be read.
            MemoryError: if there was no memory to read it.
        """
        if isinstance(self._failure, OSError):
            name = type(self._failure).__name__
            raise MediaError(stage, name, f"the file cannot be read: {self._failure}") from self._failure
        if self._failure is not None:
            raise self._failure


@dataclass(frozen=True)
class Media:
    """An open container, and the one picture and the one sound stream that count."""

    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    reader: Reader

    def clock(self, stream: Stream) -> Clock:
        """The clock of one of the streams."""
        return Clock(
            start_us=self.container.start_time or 0, unit=stream.time_base or Fraction(1, av.time_base)
        )


def _divide(numerator: int, denominator: int) -> int:
    """To the nearest, halves away from zero; the denominator is positive."""
    rounded = (2 * abs(numerator) + denominator) // (2 * denominator)
    return rounded if numerator >= 0 else -rounded


def open_media(file: BinaryIO, limits: VideoLimits) -> Media:
    """Open a video or sound file; the caller closes `.container`.

    Raises:
        MediaError: if it cannot be read, is none, is beyond a limit, or has neither a picture nor a sound.
        MemoryError: if the process is out of memory.
    """
    num_bytes = file.seek(0, os.SEEK_END)
    if num_bytes > limits.max_bytes:
        raise MediaError(
            "open",
            "TooManyBytes",
            f"it has {num_bytes} bytes, and the limit is {limits.max_bytes} (--max-video-bytes)",
        )
    file.seek(0)
    reader = Reader(file)
    try:
        container = _open(reader, limits)
    except av.error.FFmpegError as error:
        reader.raise_failure("open")
        if not isinstance(error, MemoryError):
            raise MediaError("open", type(error).__name__, _why_not_openable(file, error)) from error
        # Some demuxers give up at the limit of streams, with the error of having no memory.
        if any("max_streams" in complaint for complaint in complaints(lambda: _open(reader, limits))):
            raise _too_many_streams(limits) from error
        raise
    if len(container.streams) > limits.max_streams:
        container.close()
        raise _too_many_streams(limits)
    # PyAV asks FFmpeg to make up missing stamps, which it gets wrong for B-frames in AVI.
    container.flags &= ~_GEN_PTS
    pictures = [s for s in container.streams.video if not s.disposition & _NOT_A_PICTURE]
    sounds = sorted(container.streams.audio, key=lambda stream: not stream.disposition & Disposition.default)
    video, audio = _choose(pictures, limits), _choose(sounds, limits)
    if video is None and audio is None:
        container.close()
        raise MediaError(
            "probe", "NoStreams", "the file has neither a picture nor a sound that can be decoded"
        )
    return Media(container, video, audio, reader)


def _open(reader: Reader, limits: VideoLimits) -> InputContainer:
    reader.seek(0)
    return av.open(
        reader,
        mode="r",
        options={
            "format_whitelist": FORMATS,
            "protocol_whitelist": "none",
            "max_pixels": str(limits.max_pixels),
            "max_streams": str(limits.max_streams + 1),
        },
        metadata_errors="ignore",
        buffer_size=_READ_BYTES,
    )


def _too_many_streams(limits: VideoLimits) -> MediaError:
    message = f"it has more than {limits.max_streams} streams, which is the limit (--max-streams)"
    return MediaError("open", "TooManyStreams", message)


def complaints(deed: Callable[[], object]) -> list[str]:
    """What FFmpeg logs while it does something that may fail, for what its error codes do not tell."""
    with av.logging.Capture() as lines:
        av.logging.set_level(av.logging.ERROR)
        try:
            deed()
        except av.error.FFmpegError:
            pass
        finally:
            av.logging.set_level(None)
    return [text for _, _, text in lines]


def usual_frame_seconds(stream: VideoStream) -> Fraction:
    """How long a frame stands that does not say so itself."""
    rate = stream.guessed_rate or stream.average_rate
    return 1 / rate if rate else Fraction(1, FRAME_RATE_HZ)


@contextmanager
def damage_skipped(on_damage: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Swallow what FFmpeg has to say against some bytes, but not that memory ran out."""
    try:
        yield
    except MemoryError:
        raise
    except av.error.FFmpegError:
        on_damage()


def _choose(streams: Sequence[AnyStream], limits: VideoLimits) -> AnyStream | None:
    """Take the first stream that FFmpeg has a decoder for, and keep its decoder to one thread."""
    for stream in streams:
        if stream.codec_context is not None:
            # Parallel over spans, not inside a codec: two threads there are only 1.36 times one.
            stream.codec_context.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}
            return stream
    return None


def _why_not_openable(file: BinaryIO, error: av.error.FFmpegError) -> str:
    file.seek(0)
    head = file.read(12)
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp":
        return "an mp4 or mov file whose index (moov) is missing or broken: it was cut off or never finished"
    if isinstance(error, av.error.EOFError):
        return "the file ends within its header: it was cut off"
    # ArgumentError: not in FORMATS. The others: what demuxers say of nonsense, since nothing failed to be read.
    nonsense = (av.error.InvalidDataError, av.error.ArgumentError, av.error.UnknownError, OSError)
    if isinstance(error, nonsense):
        return "not a video or sound file that FFmpeg recognises, or its header is broken"
    return f"FFmpeg cannot open the file: {error.strerror}"
