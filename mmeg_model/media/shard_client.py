"""The parent's end of questions about shards. As elsewhere, nothing that a decoder process says is believed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any, Final

from mmeg_model.media.decoder_client import DecoderClient, bad_message
from mmeg_model.media.errors import MediaError
from mmeg_model.media.opening import Handle
from mmeg_model.media.shards import (
    MOST_MEMBERS,
    MOST_NAME_CHARACTERS,
    Indexed,
    Pack,
    ShardReading,
    is_compressed,
)
from mmeg_model.media.source import ParquetRow, VideoRef

_MOST_ERRORS: Final = 100
_BYTES_PER_EMPTY_MESSAGE: Final = 512 * 1_000
"""A decoder shows that it lives once in a thousand headers of 512 bytes."""


class Index:
    """Reads the members of one shard from a decoder process; may be asked again, of another process."""

    def __init__(self, shard: VideoRef, reading: ShardReading) -> None:
        self._shard = shard
        self._reading = reading
        self._names: set[bytes] = set()
        self.num_others = 0

    def ask(self, child: DecoderClient, handle: Handle, num_bytes: int) -> Iterator[Indexed]:
        """Yield the members that were not yielded before, and last what is wrong with the shard.

        Args:
            child: is asked.
            handle: of the shard, or of what it decompresses to.
            num_bytes: how long that is.
        """
        question = self._reading.question(self._shard)
        names_before = frozenset(self._names)
        num_empty = num_bytes // _BYTES_PER_EMPTY_MESSAGE + 3
        for message in child.stream(handle, question):
            if "end" in message:
                yield from self._end(message)
                return
            members = message.get("members")
            if not isinstance(members, list):
                raise bad_message("no members")
            num_empty -= not members
            if num_empty < 0:
                raise bad_message("messages without members, again and again")
            for fields in members:
                indexed = self._member(fields, num_bytes)
                key = indexed.video.name_key
                if key in names_before:
                    continue
                if key in self._names:
                    raise bad_message(f"the member {indexed.video.member!r:.100} twice")
                if len(self._names) == MOST_MEMBERS:
                    raise bad_message(f"more than {MOST_MEMBERS} members")
                self._names.add(key)
                yield indexed

    def _member(self, fields: object, num_bytes: int) -> Indexed:
        match fields:
            case [str(name), *_] if not 0 < len(name) <= MOST_NAME_CHARACTERS or "\0" in name:
                raise bad_message(f"a member named {name!r:.100}")
            case [str(name), int(row_group), int(row)] if self._reading.bytes_column is not None:
                if not (0 <= row_group < MOST_MEMBERS and 0 <= row < MOST_MEMBERS):
                    raise bad_message(f"the member {name!r:.100} in row {row} of group {row_group}")
                place = ParquetRow(row_group, row, self._reading.bytes_column)
                return Indexed(replace(self._shard, member=name, parquet_row=place))
            case [str(name), int(start), int(length), None, None]:
                if not 0 <= start <= start + length <= num_bytes:
                    raise bad_message(f"the member {name!r:.100}, {length} bytes from {start}")
                video = replace(
                    self._shard,
                    member=name,
                    start_byte=start,
                    num_bytes=length,
                    is_compressed=is_compressed(self._shard),
                )
                return Indexed(video)
            case [str(name), int(), int(), str(error), str(message)]:
                return Indexed(replace(self._shard, member=name), MediaError("find", error, message))
        raise bad_message("a member of unknown shape")

    def _end(self, message: dict[str, Any]) -> Iterator[Indexed]:
        match message:
            case {"errors": list(errors), "num_others": int(num_others)} if len(errors) <= _MOST_ERRORS:
                self.num_others = num_others
            case _:
                raise bad_message("an end without errors")
        for texts in errors:
            match texts:
                case [str(error), str(text)]:
                    yield Indexed(self._shard, MediaError("find", error, text))
                case _:
                    raise bad_message("an error without name and sentence")


class UnpackedTooLargeError(Exception):
    """A pack takes more than it may."""


@dataclass
class Unpacked:
    """The content of a pack, as far as it could be read, in a file without a name."""

    file: IO[bytes]
    values: list[tuple[int, int | None]] = field(default_factory=list)
    """Of Parquet, the row's range (start_byte, num_bytes) in the file; num_bytes None where it is null."""
    num_bytes: int = 0
    error: MediaError | None = None
    """What ended it before its end."""

    def clear(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.values.clear()
        self.num_bytes = 0


def unpack(
    child: DecoderClient, handle: Handle, pack: Pack, into: Unpacked, *, most_bytes: int
) -> Iterator[None]:
    """Fill `into` from its start with what a decoder process makes of a shard; yields nothing.

    Raises:
        UnpackedTooLargeError: if it takes more than most_bytes.
        OSError: if the temporary folder is full.
    """
    into.clear()
    buffer = memoryview(bytearray(1 << 20))
    for message in child.stream(handle, pack.question):
        match message:
            case {"end": _}:
                return
            case {"piece": None} if pack.row_group is not None:
                into.values.append((into.num_bytes, None))
            case {"piece": int(length)} if length > 0 or (length == 0 and pack.row_group is not None):
                if into.num_bytes + length > most_bytes:
                    raise UnpackedTooLargeError
                if pack.row_group is not None:
                    into.values.append((into.num_bytes, length))
                _receive(child.receive_into, length, into, buffer)
            case _:
                raise bad_message("no piece of the shard")
        if len(into.values) > MOST_MEMBERS:
            raise bad_message(f"more than {MOST_MEMBERS} rows")
    yield from ()


def _receive(
    receive_into: Callable[[memoryview], None], num_bytes: int, into: Unpacked, buffer: memoryview
) -> None:
    end = into.num_bytes + num_bytes
    while into.num_bytes < end:
        part = buffer[: end - into.num_bytes]
        receive_into(part)
        into.num_bytes += len(part)
        while part:  # a disk that is nearly full takes some of it
            part = part[into.file.write(part) :]
