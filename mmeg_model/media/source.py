"""What a video is called and which bytes it is."""

import hashlib
import os
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class VideoRef:
    """One version of one video, as it travels between Beam stages.

    Raises:
        ValueError: if the byte range is not one.
    """

    location: str
    """`gs://…`, or an absolute path as `os.fsdecode` gives it: bytes that are no UTF-8 stand as surrogates."""
    version: str | None = None
    """Changes whenever the content may have: size and mtime in nanoseconds of a file, generation of an
    object. None if it could not be looked at."""
    member: str | None = None
    """The name inside a shard, if `location` is one."""
    start_byte: int = 0
    num_bytes: int | None = None
    """The video is the byte range [start_byte, start_byte + num_bytes); None: to the end."""

    def __post_init__(self) -> None:
        if self.start_byte < 0 or (self.num_bytes is not None and self.num_bytes < 0):
            raise ValueError(f"a byte range needs {self.start_byte = } >= 0 and {self.num_bytes = } >= 0")

    @property
    def uri(self) -> str:
        """The location as it is published."""
        return printable(self.location)

    @property
    def key(self) -> bytes:
        """16 bytes that name this video in this version."""
        return _digest(self.uri, self.member, self.version)

    @property
    def name_key(self) -> bytes:
        """16 bytes that name this video in whatever version."""
        return _digest(self.uri, self.member)


def printable(location: str) -> str:
    """A path as it can be shown and stored: its bytes that are no UTF-8 are percent-escaped."""
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in location)


def _digest(*parts: str | None) -> bytes:
    text = "\0".join("\1" if part is None else part for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def local_version(status: os.stat_result) -> str:
    """The version of a local file: its size and its time of change, in nanoseconds."""
    return f"{status.st_size}-{status.st_mtime_ns}"
