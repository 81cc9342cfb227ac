"""The members of a tar, from its headers alone. Runs in the decoder process: a tar is bytes from outside."""

import os
import tarfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

from mmeg_model.media.errors import MediaError
from mmeg_model.media.shards import MOST_MEMBERS, MOST_NAME_CHARACTERS
from mmeg_model.media.source import printable

MOST_HEADER_BYTES: Final = 1 << 16
"""Of what stands before a member beside its 512 bytes: long names, attributes."""

_BLOCK_BYTES: Final = 512
_RECORD_BYTES: Final = 20 * _BLOCK_BYTES  # what writers fill up with zeros
_HEADERS_PER_HEARTBEAT: Final = 1_000


class TarMember(NamedTuple):
    """A member with an extension of a video or sound; or, with an error, why it cannot be read."""

    name: str
    start_byte: int
    num_bytes: int
    error: str | None = None
    message: str | None = None


class _Headers:
    """A file that refuses to read much at a time: the library would believe whatever length a header states."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek = file.seek
        self.tell = file.tell
        self._read = file.read

    def read(self, size: int) -> bytes:
        if size > MOST_HEADER_BYTES:
            raise MediaError(
                "find",
                "HeaderTooLarge",
                f"at byte {self.tell()} a header states a length of {size} bytes; at most {MOST_HEADER_BYTES} are read",
            )
        return self._read(size) if size > 0 else b""


class TarIndex:
    """Reads the headers of a tar, and keeps which members are videos."""

    def __init__(self, file: BinaryIO, extensions: Sequence[str]) -> None:
        self._file = file
        self._extensions = tuple(extensions)
        self._num_bytes = file.seek(0, os.SEEK_END)
        self._members: dict[str, TarMember] = {}
        self.num_others = 0
        """Members that are neither folders nor videos by their names, such as the side files of WebDataset."""
        self.error: MediaError | None = None
        """Where the tar broke off, if it did."""

    def members(self) -> Iterator[TarMember | None]:
        """Yield the members, of several with one name the last one, as unpacking would leave it.

        Now and then None, while the headers are being read. What comes behind a broken header is not found.
        """
        try:
            for number, info in enumerate(self._headers()):
                if number % _HEADERS_PER_HEARTBEAT == 0:
                    yield None
                self._add(info)
        except MediaError as error:
            self.error = error
        yield from self._members.values()

    def _headers(self) -> Iterator[tarfile.TarInfo]:
        headers = _Headers(self._file)
        headers.seek(0)
        # Iterating over a TarFile would not do: it keeps every member, and takes a broken header for the end.
        try:
            tar = tarfile.TarFile(fileobj=headers, encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
        except (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            raise MediaError("find", "NotATar", "not a tar file, or its first header is broken") from error
        offset = 0
        while True:
            headers.seek(offset)
            try:
                info = tarfile.TarInfo.fromtarfile(tar)
            except (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
                headers.seek(offset)
                block = headers.read(_BLOCK_BYTES)
                if len(block) == _BLOCK_BYTES and not any(block):  # the mark of the end
                    self._check_behind(headers, offset)
                    return
                raise self._broken_at(offset, block) from error
            if not offset < tar.offset or info.size < 0:
                raise self._broken_at(offset, bytes(_BLOCK_BYTES))
            yield info
            offset = tar.offset

    def _check_behind(self, headers: _Headers, offset: int) -> None:
        """Tars written one behind the other, or a hole in one, shall not lose members without a word."""
        headers.seek(offset)
        if any(headers.read(2 * _RECORD_BYTES)):
            message = f"behind the mark of its end, at byte {offset}, the tar goes on; only what stands before is read"
            raise MediaError("find", "DataBehindEnd", message)

    def _broken_at(self, offset: int, block: bytes) -> MediaError:
        found = f"{len(self._members)} videos before that were found"
        if len(block) < _BLOCK_BYTES:
            message = (
                f"the tar ends at byte {self._num_bytes} without the mark of its end: it was cut off; {found}"
            )
            return MediaError("find", "TruncatedShard", message)
        return MediaError(
            "find", "BrokenHeader", f"the header at byte {offset} of the tar is broken; {found}"
        )

    def _add(self, info: tarfile.TarInfo) -> None:
        if info.isdir():
            return
        name = printable(info.name).replace("\0", "%00")
        parts = name.split("/")
        is_hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
        if is_hidden or not name.lower().endswith(self._extensions):
            self.num_others += 1
            return
        if len(name) > MOST_NAME_CHARACTERS:
            message = f"the name of the member at byte {info.offset} has {len(name)} characters; at most {MOST_NAME_CHARACTERS} are taken"
            raise MediaError("find", "NameTooLong", message)
        # Popped first, so that the order is that of the ranges.
        self._members.pop(name, None)
        if len(self._members) == MOST_MEMBERS:
            message = f"the shard holds more than {MOST_MEMBERS} videos, and those are annotated; split it"
            raise MediaError("find", "TooManyMembers", message)
        if not info.isreg() or info.issparse():
            kind = "sparse" if info.issparse() else "a link" if info.islnk() or info.issym() else "no file"
            message = f"{name:.200} is {kind}; only regular files in a shard are read"
            self._members[name] = TarMember(name, 0, 0, "NoRegularFile", message)
            return
        end = info.offset_data + info.size
        if end > self._num_bytes:
            message = (
                f"the tar ends at byte {self._num_bytes}, within {name:.200}, which would end at byte {end}: it was "
                f"cut off; {len(self._members)} videos before that were found"
            )
            raise MediaError("find", "TruncatedShard", message)
        self._members[name] = TarMember(name, info.offset_data, info.size)
