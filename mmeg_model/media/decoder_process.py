"""The child that parses bytes from outside: `python -m mmeg_model.media.decoder_process FD BYTES SECONDS`.

It answers requests that come over the Unix socket FD, one after the other, and ends when that socket closes.
A request is a JSON message with a descriptor beside it (SCM_RIGHTS): of the video's file, or of a socket over
which the parent reads it. An answer is one or more JSON messages, a clip's followed by the bytes of its arrays.
The child opens no video by name.

Nothing heavy is imported up here: the limits come first, and the parent imports the message format too.
"""

import json
import resource
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from mmeg_model.media.sandbox import enter_sandbox
from mmeg_model.media.video_file import VideoFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from mmeg_model.clip import Clip

MESSAGE_LENGTH: Final = struct.Struct("!I")
"""Stands before every message: how many bytes of JSON follow."""

_MAX_FILE_BYTES: Final = 1 << 20  # standard error is a file; nothing else is written
_MAX_OPEN_FILES: Final = 32
_MAX_TEXT: Final = 1_000


def encode_message(message: Mapping[str, Any]) -> bytes:
    """A message as it is sent, its length in front."""
    text = json.dumps(message).encode()
    return MESSAGE_LENGTH.pack(len(text)) + text


def _lower_limit(limit: int, value: int) -> None:
    """Set a limit, or keep what is lower already."""
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _limit_resources(memory_bytes: int) -> None:
    _lower_limit(resource.RLIMIT_CORE, 0)
    _lower_limit(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    _lower_limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    # Not RLIMIT_AS: that also counts what is mapped but never touched, 140 MB of libraries to begin with.
    _lower_limit(resource.RLIMIT_DATA, memory_bytes)
    with suppress(OSError):  # if the machine itself runs out of memory, this process shall go first
        Path("/proc/self/oom_score_adj").write_text("500")
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _is_memory_nearly_full() -> bool:
    """Whether less than an eighth of the limit is left, where the kernel tells."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    statm = Path("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not statm.exists():
        return False
    used = int(statm.read_text().split()[5]) * resource.getpagesize()  # data and stack
    return used > limit - limit // 8


def _receive(channel: socket.socket, num_bytes: int) -> bytes:
    parts = []
    while num_bytes:
        part = channel.recv(num_bytes)
        if not part:
            raise ConnectionError("the parent is gone")
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)


def _receive_request(channel: socket.socket) -> tuple[dict[str, Any], int]:
    head, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_LENGTH.size, 1)
    head += _receive(channel, MESSAGE_LENGTH.size - len(head))
    request = json.loads(_receive(channel, *MESSAGE_LENGTH.unpack(head)))
    return request, descriptors[0]


def _clip_message(clip: "Clip", num_damaged_packets: int, cpu_ms: int) -> list["ReadableBuffer"]:
    import numpy as np

    arrays: list[np.ndarray] = []
    has_frames, has_samples = bool(clip.frames_valid.any()), bool(clip.samples_valid.any())
    if has_frames:
        arrays += [clip.frames_valid, clip.frames]
    if has_samples:
        arrays += [clip.samples_valid, clip.samples]
    head = {
        "clip": [clip.start_ms, clip.end_ms],
        "has_frames": has_frames,
        "has_samples": has_samples,
        "damaged_packets": num_damaged_packets,
        "cpu_ms": cpu_ms,
    }
    return [encode_message(head), *(np.ascontiguousarray(array).data.cast("B") for array in arrays)]


def _answer(request: dict[str, Any], file: BinaryIO) -> Iterator[list["ReadableBuffer"]]:
    """Yield what is to be sent, message by message, the last one being no clip."""
    from mmeg_model.media.crop import Box, Crop
    from mmeg_model.media.decode import decode_span
    from mmeg_model.media.errors import MediaError
    from mmeg_model.media.limits import VideoLimits
    from mmeg_model.media.probe import VideoInfo, probe
    from mmeg_model.media.shard_process import answer_about_shard

    num_damaged_packets = 0
    cpu_before = time.process_time()

    def on_damaged_packet() -> None:
        nonlocal num_damaged_packets
        if _is_memory_nearly_full():
            raise MemoryError  # some codecs say that a packet is damaged if they get no memory for its frame
        num_damaged_packets += 1

    try:
        if "shard" in request:
            for head, content in answer_about_shard(request["shard"], file):
                yield [encode_message(head), *([] if content is None else [content])]
            return
        if "windows" not in request:
            yield [encode_message({"info": asdict(probe(file, VideoLimits(**request["limits"])))})]
            return
        windows = [(start_ms, end_ms) for start_ms, end_ms in request["windows"]]
        info = VideoInfo(**request["info"])
        box, channel = request["crop"]["box"], request["crop"]["channel"]
        crop = Crop(Box(**box) if box else None, channel)
        limits = VideoLimits(**request["limits"])
        for clip in decode_span(
            file, info, windows, crop=crop, on_damaged_packet=on_damaged_packet, limits=limits
        ):
            cpu = time.process_time()
            message = _clip_message(clip, num_damaged_packets, round(1000 * (cpu - cpu_before)))
            num_damaged_packets, cpu_before = 0, cpu
            yield message
        yield [encode_message({"damaged_packets": num_damaged_packets, "cpu_ms": 0})]
    except MediaError as error:
        texts = [error.stage, error.error, error.message[:_MAX_TEXT]]
        yield [encode_message({"error": [text.encode(errors="replace").decode() for text in texts]})]


def _send(channel: socket.socket, message: list["ReadableBuffer"]) -> None:
    for part in message:
        channel.sendall(part)


def _serve(channel: socket.socket, deadline_seconds: float) -> None:
    with ThreadPoolExecutor(max_workers=1) as sender:
        sender.submit(_send, channel, [encode_message({"ready": True})]).result()
        while True:
            request, descriptor = _receive_request(channel)
            sent: deque[Future[None]] = deque()
            with VideoFile(
                descriptor, start_byte=request["start_byte"], num_bytes=request["num_bytes"]
            ) as file:
                # The parent keeps the deadline; this ends a child that spins after its parent has died.
                signal.setitimer(signal.ITIMER_PROF, deadline_seconds)
                for message in _answer(request, cast(BinaryIO, file)):
                    sent.append(sender.submit(_send, channel, message))
                    if len(sent) > request.get("clips_ahead", 0):
                        sent.popleft().result()
                    signal.setitimer(signal.ITIMER_PROF, deadline_seconds)
            while sent:
                sent.popleft().result()


def main() -> None:
    """Serve the socket named on the command line until it closes."""
    descriptor, memory_bytes, deadline_seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    _limit_resources(memory_bytes)
    with socket.socket(fileno=descriptor) as channel:
        try:
            import mmeg_model.media.decode
            import mmeg_model.media.probe  # noqa: F401 - a child is ready when it has imported FFmpeg

            enter_sandbox()
            _serve(channel, deadline_seconds)
        except ConnectionError:
            return
        except MemoryError:
            # Whatever failed may have left torn state behind: the next request gets a fresh child.
            channel.sendall(encode_message({"out_of_memory": True}))
            raise


if __name__ == "__main__":
    main()
