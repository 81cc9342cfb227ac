"""What a video is called and which bytes it is."""

import hashlib
import os
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class ParquetRow:
    """Where a member of a Parquet shard stands.

    Raises:
        ValueError: if a number is negative.
    """

    row_group: int
    row_in_group: int
    column: str
    """Holds the bytes; a field of a struct is named `column.field`."""

    def __post_init__(self) -> None:
        if self.row_group < 0 or self.row_in_group < 0:
            raise ValueError(f"{self.row_group = } and {self.row_in_group = } must not be negative")


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
    is_compressed: bool = False
    """Whether it is a range not of `location` but of what that decompresses to."""
    parquet_row: ParquetRow | None = None
    """Where the bytes stand if `location` is a Parquet shard; then there is no range."""

    def __post_init__(self) -> None:
        if self.start_byte < 0 or (self.num_bytes is not None and self.num_bytes < 0):
            raise ValueError(f"a byte range needs {self.start_byte = } >= 0 and {self.num_bytes = } >= 0")

    @property
    def uri(self) -> str:
        """The location as it is published."""
        return printable(self.location)

    @property
    def label(self) -> str:
        """What log lines call it: the uri, and behind a `#` the member of a shard."""
        return self.uri if self.member is None else f"{self.uri}#{self.member}"

    @property
    def is_packed(self) -> bool:
        """Whether the bytes are no range of `location`, but must be unpacked first."""
        return self.is_compressed or self.parquet_row is not None

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


def changed_ns(version: str) -> int:
    """When the local file of a version was changed, in nanoseconds since 1970."""
    return int(version.rpartition("-")[2])
