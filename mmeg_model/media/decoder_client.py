"""The parent's end of one decoder process: starts it, asks it, and turns its death into an error with a name.

Nothing that a child says is believed, for it has read hostile bytes: messages are JSON with a length limit,
arrays have the size that was asked for, and anything else is an error.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple, cast, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

import mmeg_model
from mmeg_model.clip import FRAME_SIZE, SAMPLES_PER_FRAME, Clip, num_frames_between
from mmeg_model.media.crop import WHOLE, Crop
from mmeg_model.media.decoder_process import MESSAGE_LENGTH, encode_message
from mmeg_model.media.errors import MediaError, Stage
from mmeg_model.media.limits import DecoderLimits
from mmeg_model.media.opening import Handle
from mmeg_model.media.probe import VideoInfo
from mmeg_model.media.windows import Window

DECODER_COMMAND: Final = (sys.executable, "-P", "-m", "mmeg_model.media.decoder_process")

_MAX_MESSAGE_BYTES: Final = 64 << 10
_MAX_STDERR_BYTES: Final = 4 << 10
_MAX_LAST_WORDS: Final = 500
_MAX_INT32: Final = 2**31 - 1
_MAX_EXACT: Final = 2**53  # the last whole number before which a float64 holds all
_SECONDS_TO_START: Final = 60.0  # 0.2 on an idle machine; not what a video's deadline is about
_SECONDS_TO_DIE: Final = 10.0


class Delivery(NamedTuple):
    """What a child says of one clip, or, without a clip, at the end of a request."""

    clip: Clip | None
    num_damaged_packets: int
    """Since the delivery before."""
    cpu_seconds: float
    """What the child has spent since the delivery before."""


class DecoderFailedError(Exception):
    """The decoder process cannot be used any more: it died, hangs, or talks nonsense. Named as in MediaError."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(error, message)
        self.error = error
        self.message = message


def bad_message(what: str) -> DecoderFailedError:
    """The failure of a decoder that does not keep to the protocol."""
    return DecoderFailedError("BadMessage", f"the decoder sent something that it never should: {what}")


def _environment() -> dict[str, str]:
    """What Python needs to find this package and its libraries; no credentials."""
    folder = Path(mmeg_model.__file__).parents[1]
    # Python looks into site-packages anyway; put ahead of the standard library, it would replace parts of that
    # by old backports.
    paths = [] if folder.name in ("site-packages", "dist-packages") else [str(folder)]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        # OpenBLAS reserves 40 MB per thread, and nothing here multiplies matrices.
        "OPENBLAS_NUM_THREADS": "1",
        # Arrow's own allocators reserve a gigabyte, which the limit of memory counts.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        # glibc would keep what the index of an mp4 needed for a moment, 90 MB for three hours; it is no slower so.
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "MALLOC_TRIM_THRESHOLD_": "131072",
    }


class DecoderClient:
    """One decoder process, used by one thread at a time."""

    def __init__(self, command: Sequence[str], limits: DecoderLimits) -> None:
        self._limits = limits
        self._is_ready = False
        self._set_deadline(_SECONDS_TO_START)
        self._channel, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - close() does
        try:
            self._process = subprocess.Popen(  # noqa: S603 - nothing in it comes from a video
                [*command, str(theirs.fileno()), str(limits.memory_bytes), str(limits.deadline_seconds)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                start_new_session=True,  # a Ctrl-C in the terminal is the parent's affair
            )
        except OSError:
            self._channel.close()
            self._stderr.close()
            raise
        finally:
            theirs.close()

    def kill(self) -> None:
        """End the process, however far it has got; may come from any thread."""
        self._process.kill()

    def close(self) -> None:
        """End the process and leave nothing of it behind."""
        self.kill()
        self._process.wait()
        self._channel.close()
        self._stderr.close()

    def forget(self) -> None:
        """Let go of a child of the process that this one was forked from."""
        self._process.returncode = 0  # so that close() leaves the process alone
        self.close()

    def probe(self, handle: Handle) -> Iterator[VideoInfo]:
        """Yield the one answer."""
        self._ask({"limits": asdict(self._limits.video)}, handle)
        yield self._video_info(self._receive_message().get("info"))

    def decode(
        self,
        handle: Handle,
        info: VideoInfo,
        windows: Sequence[Window],
        *,
        clips_ahead: int,
        crop: Crop = WHOLE,
    ) -> Iterator[Delivery]:
        """Yield the clips, and last a delivery without one.

        Up to clips_ahead finished clips wait in the child, and are lost if it dies.
        """
        request = {
            "limits": asdict(self._limits.video),
            "info": asdict(info),
            "windows": list(windows),
            "clips_ahead": clips_ahead,
            "crop": asdict(crop),
        }
        self._ask(request, handle)
        for window in windows:
            message = self._receive_message()
            if message.get("clip") != list(window):
                raise bad_message(f"the clip {list(window)} was due")
            yield self._delivery(message, window)
        yield self._delivery(self._receive_message(), None)

    def stream(self, handle: Handle, question: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Ask about a shard, and yield message after message, the last with `end`; the deadline is for each."""
        self._ask({"shard": question}, handle)
        while True:
            message = self._receive_message()
            yield message
            if "end" in message:
                return
            self._set_deadline(self._limits.deadline_seconds)

    def _ask(self, request: dict[str, Any], handle: Handle) -> None:
        if not self._is_ready:
            self._await_start()
        self._set_deadline(self._limits.deadline_seconds)
        request |= {"start_byte": handle.start_byte, "num_bytes": handle.num_bytes}
        message = encode_message(request)
        try:
            self._channel.settimeout(self._seconds_left)
            num_sent = socket.send_fds(self._channel, [message], [handle.descriptor])
            self._channel.sendall(message[num_sent:])
        except TimeoutError:
            raise self._deadline_exceeded() from None
        except ConnectionError:
            pass  # it has died; reading its answer finds out how, behind what it may have said before

    def _set_deadline(self, seconds: float) -> None:
        self._deadline_seconds = self._seconds_left = seconds

    def _await_start(self) -> None:
        try:
            self._receive_message()
        except DecoderFailedError as failure:
            if failure.error == "DecoderDied":
                raise RuntimeError(f"decoder processes do not start: {failure.message}") from failure
            raise
        self._is_ready = True

    def receive_into(self, left: memoryview) -> None:
        """Receive the bytes that follow a message.

        Raises:
            DecoderFailedError: if they do not come.
        """
        while left:
            started = time.monotonic()
            self._channel.settimeout(max(self._seconds_left, 1e-3))
            try:
                num_received = self._channel.recv_into(left)
            except TimeoutError:
                raise self._deadline_exceeded() from None
            except ConnectionError:
                num_received = 0
            self._seconds_left -= time.monotonic() - started
            if not num_received:
                raise self._died()
            left = left[num_received:]

    def _receive_message(self) -> dict[str, Any]:
        head = bytearray(MESSAGE_LENGTH.size)
        self.receive_into(memoryview(head))
        (num_bytes,) = MESSAGE_LENGTH.unpack(head)
        if not 0 < num_bytes <= _MAX_MESSAGE_BYTES:
            raise bad_message(f"a message of {num_bytes} bytes")
        text = bytearray(num_bytes)
        self.receive_into(memoryview(text))
        try:
            message = json.loads(text)
            # Half a surrogate pair would pass as a string here, and break a table later.
            json.dumps(message, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise bad_message("no JSON object")
        if "out_of_memory" in message:
            limit_mib = self._limits.memory_bytes >> 20
            raise DecoderFailedError(
                "MemoryLimitExceeded",
                f"the decoder needed more memory than its limit of {limit_mib} MiB (--decode-memory-mib)",
            )
        if "error" in message:
            raise self._media_error(message["error"])
        return message

    def _media_error(self, texts: object) -> MediaError:
        match texts:
            case [str(stage), str(error), str(message)] if stage in get_args(Stage):
                return MediaError(cast(Stage, stage), error, message)
        raise bad_message("an error without stage, name and sentence")

    def _video_info(self, values: object) -> VideoInfo:
        types = get_type_hints(VideoInfo)
        if not isinstance(values, dict) or values.keys() != types.keys():
            raise bad_message("video information with other fields")
        for name, value in values.items():
            most = _MAX_EXACT if name.endswith("_ms") else _MAX_INT32
            is_too_large = isinstance(value, int) and abs(value) > most
            if not isinstance(value, types[name]) or isinstance(value, bool) or is_too_large:
                raise bad_message(f"video information with {name} = {value!r:.100}")
        try:
            info = VideoInfo(**values)
        except ValueError as error:
            raise bad_message(f"video information that does not fit together: {error}") from error
        most_seconds = self._limits.video.max_seconds
        if info.duration_ms > 1000 * most_seconds:
            message = (
                f"its last packet ends after {info.duration_ms / 1000:g} s, and the limit is {most_seconds} s "
                "(--max-video-seconds): are its time stamps broken?"
            )
            raise MediaError("probe", "DurationOutOfRange", message)
        return info

    def _delivery(self, message: dict[str, Any], window: Window | None) -> Delivery:
        num_damaged_packets, cpu_ms = (
            self._number(message, "damaged_packets"),
            self._number(message, "cpu_ms"),
        )
        clip = None if window is None else self._receive_clip(window, message)
        return Delivery(clip, num_damaged_packets, cpu_ms / 1000)

    def _number(self, message: dict[str, Any], name: str) -> int:
        match message.get(name):
            case int(number) if 0 <= number <= _MAX_INT32:
                return number
        raise bad_message(f"no number {name}")

    def _receive_clip(self, window: Window, message: dict[str, Any]) -> Clip:
        t = num_frames_between(*window)
        frames, frames_valid = self._receive_arrays(
            message.get("has_frames"), (t, FRAME_SIZE, FRAME_SIZE, 3), np.uint8, t
        )
        samples, samples_valid = self._receive_arrays(
            message.get("has_samples"), (t * SAMPLES_PER_FRAME,), np.int16, t * SAMPLES_PER_FRAME
        )
        return Clip(*window, frames, frames_valid, samples, samples_valid)

    def _receive_arrays(
        self, is_there: object, shape: tuple[int, ...], dtype: type, num_valid: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        if is_there is not True:
            return np.zeros(shape, dtype), np.zeros(num_valid, np.bool_)
        valid = np.empty(num_valid, np.uint8)
        array: NDArray[Any] = np.empty(shape, dtype)
        self.receive_into(valid.data)
        self.receive_into(array.data.cast("B"))
        return array, valid != 0  # a bool that is neither 0 nor 1 would be undefined behaviour in numpy

    def _deadline_exceeded(self) -> DecoderFailedError:
        message = f"the decoder did not finish within {self._deadline_seconds:g} seconds (--decode-deadline-seconds)"
        return DecoderFailedError("DeadlineExceeded", message)

    def _died(self) -> DecoderFailedError:
        try:
            status = self._process.wait(_SECONDS_TO_DIE)
        except subprocess.TimeoutExpired:
            return bad_message("the end of its messages, and it lives on")
        if status == -signal.SIGPROF:
            return self._deadline_exceeded()
        if status < 0:
            name = next((known.name for known in signal.Signals if known == -status), str(-status))
            return DecoderFailedError("DecoderKilled", f"the decoder was killed by signal {name}")
        message = f"the decoder ended with exit status {status}: {self._last_words()}"
        return DecoderFailedError("DecoderDied", message)

    def _last_words(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _MAX_STDERR_BYTES))
        text = self._stderr.read().decode(errors="replace").strip()
        return text.rpartition("\n")[2][:_MAX_LAST_WORDS] or "nothing on its standard error"
