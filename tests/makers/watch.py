"""Whether somebody opens a file or calls an address."""

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_IN_OPEN, _IN_NONBLOCK = 0x20, os.O_NONBLOCK


class Watch:
    """A file that nobody should open, and an address that nobody should call."""

    def __init__(self, canary: Path, inotify: int, server: socket.socket) -> None:
        self.canary = canary
        self.port = server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/secret.ts"
        self._inotify = inotify
        self._server = server

    def incidents(self) -> list[str]:
        """What has happened since the last call."""
        found = []
        try:
            while os.read(self._inotify, 4_096):
                found.append("the file was opened")
        except BlockingIOError:
            pass
        try:
            while True:
                self._server.accept()[0].close()
                found.append("the address was called")
        except BlockingIOError:
            return found


@contextmanager
def watched(canary: Path) -> Iterator[Watch]:
    """Watch an existing file by inotify, and a listening socket."""
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(_IN_NONBLOCK | os.O_CLOEXEC)
    if inotify < 0 or libc.inotify_add_watch(inotify, os.fsencode(canary), _IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), "inotify is not available")
    try:
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            server.setblocking(False)
            yield Watch(canary, inotify, server)
    finally:
        os.close(inotify)
