"""The bytes of a video as the decoder process sees them: a file, of a descriptor or of what its parent reads.

Over a socket, the decoder asks for (offset, size) and gets that many bytes, or an error. Credentials and the
network stay with the parent, which lets a decoder that hostile bytes have taken over have nothing but bytes of
the one source that it was given.
"""

import errno
import io
import json
import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from mmeg_model.media.errors import MediaError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_READ_BYTES: Final = 1 << 20
"""What one request may ask for: FFmpeg reads 256 KiB at a time."""

_REQUEST: Final = struct.Struct("!QI")  # offset, number of bytes
_ANSWER: Final = struct.Struct(
    "!?I"
)  # whether it went well, number of bytes: of content, or JSON of an error


class Source(Protocol):
    """Bytes that this process can read anywhere, such as an object in a bucket; used by one thread at a time."""

    @property
    def num_bytes(self) -> int:
        """How many there are."""

    def read_at(self, offset: int, num_bytes: int, /) -> bytes:
        """Read the bytes [offset, offset + num_bytes), all of them, which lie within the source.

        Raises:
            MediaError: if they cannot be read.
        """

    def read_ahead(self) -> None:
        """Make ready what will be asked for next, while whoever asks is busy with what it got. Raises nothing."""


@contextmanager
def answering(source: Source) -> Iterator[int]:
    """Give a descriptor for `VideoFile` in another process, whose reads a thread answers from the source.

    The thread ends with this context, once what it is reading just then has come or failed.
    """
    ours, theirs = socket.socketpair()
    threading.Thread(target=_answer_reads, args=(ours, source), name="answer reads", daemon=True).start()
    with theirs:
        try:
            yield theirs.fileno()
        finally:
            # Closing would not do: a child that was stopped or forked may hold this end too.
            with suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)


def _answer_reads(channel: socket.socket, source: Source) -> None:
    with channel, suppress(ConnectionError):
        while request := channel.recv(_REQUEST.size, socket.MSG_WAITALL):
            if len(request) < _REQUEST.size:
                return
            offset, num_bytes = _REQUEST.unpack(request)
            if num_bytes > MAX_READ_BYTES or offset + num_bytes > source.num_bytes:
                return  # no decoder of ours asks for that
            try:
                content = source.read_at(offset, num_bytes)
            except MediaError as error:
                content = json.dumps(error.args).encode()
                channel.sendall(_ANSWER.pack(False, len(content)) + content)
            else:
                channel.sendall(_ANSWER.pack(True, len(content)))
                channel.sendall(content)
                source.read_ahead()


class VideoFile(io.RawIOBase):
    """The byte range [start_byte, start_byte + num_bytes) behind a descriptor, which it closes, as a file of its own.

    The descriptor is that of a file, or one of `answering`, which needs num_bytes. A read may raise MediaError.
    """

    def __init__(self, descriptor: int, *, start_byte: int, num_bytes: int | None) -> None:
        status = os.fstat(descriptor)
        self._descriptor = descriptor
        self._channel = socket.socket(fileno=descriptor) if stat.S_ISSOCK(status.st_mode) else None
        self._start = start_byte
        self._size = max(0, status.st_size - start_byte) if num_bytes is None else num_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._position)]
        offset = self._start + self._position
        if self._channel is None:
            num_read = os.preadv(self._descriptor, [view], offset)
        else:
            num_read = _ask(self._channel, offset, view[:MAX_READ_BYTES]) if view else 0
        self._position += num_read
        return num_read

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if position < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed:
            if self._channel is None:
                os.close(self._descriptor)
            else:
                self._channel.close()
        super().close()


def _ask(channel: socket.socket, offset: int, view: memoryview) -> int:
    channel.sendall(_REQUEST.pack(offset, len(view)))
    head = bytearray(_ANSWER.size)
    _receive_into(channel, memoryview(head))
    is_content, num_bytes = _ANSWER.unpack(head)
    if not is_content:
        text = bytearray(num_bytes)
        _receive_into(channel, memoryview(text))
        raise MediaError(*json.loads(text))
    _receive_into(channel, view[:num_bytes])
    return num_bytes


def _receive_into(channel: socket.socket, view: memoryview) -> None:
    while view:
        num_received = channel.recv_into(view)
        if not num_received:
            raise OSError(errno.EIO, "nobody reads the source any more")
        view = view[num_received:]
