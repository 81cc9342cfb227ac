"""What the decoder process answers about shards: the members of one, or its content unpacked."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from mmeg_model.media.errors import MediaError
from mmeg_model.media.source import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_MOST_TEXT: Final = 1_000
_BATCH_CHARACTERS: Final = 16_384

Answer = tuple[dict[str, Any], "ReadableBuffer | None"]
"""A message, and the bytes that follow it."""


def answer_about_shard(question: Mapping[str, Any], file: BinaryIO) -> Iterator[Answer]:
    """Yield messages with `members` or with a `piece`, the last one with `end`.

    Raises:
        MediaError: if the shard cannot be read.
    """
    match question:
        case {"index": "tar", "extensions": extensions}:
            from mmeg_model.media.tar_index import TarIndex

            tar = TarIndex(file, extensions)
            yield from _batches(tar.members())
            yield _end([tar.error] if tar.error else [], num_others=tar.num_others)
        case {"index": "parquet", "bytes_column": bytes_column, "key_column": key_column}:
            from mmeg_model.media.parquet_shard import ParquetIndex

            rows = ParquetIndex(file, bytes_column=bytes_column, key_column=key_column)
            yield from _batches(rows.members())
            yield _end(rows.errors)
        case {"unpack": "tar"}:
            from mmeg_model.media.decompress import decompressed

            yield from _pieces(decompressed(file))
        case {"unpack": "parquet", "row_group": row_group, "column": column}:
            from mmeg_model.media.parquet_shard import row_group_values

            yield from _pieces(row_group_values(file, row_group=row_group, column=column))


def _batches(members: Iterable[tuple[Any, ...] | None]) -> Iterator[Answer]:
    """Group members into messages of a bounded length; a None among them becomes an empty one, a sign of life."""
    batch: list[list[Any]] = []
    num_characters = 0
    for member in members:
        if member is None:
            yield {"members": []}, None
            continue
        fields = [_text(field) if isinstance(field, str) else field for field in member]
        num_characters += len(json.dumps(fields))
        if num_characters > _BATCH_CHARACTERS and batch:
            yield {"members": batch}, None
            batch, num_characters = [], len(json.dumps(fields))
        batch.append(fields)
    yield {"members": batch}, None


def _pieces(pieces: Iterable["ReadableBuffer | None"]) -> Iterator[Answer]:
    for piece in pieces:
        yield {"piece": None if piece is None else memoryview(piece).nbytes}, piece
    yield {"end": True}, None


def _end(errors: Iterable[MediaError], *, num_others: int = 0) -> Answer:
    texts = [[error.error, _text(error.message)[:_MOST_TEXT]] for error in errors]
    return {"end": True, "errors": texts, "num_others": num_others}, None


def _text(text: str) -> str:
    return printable(text).encode(errors="replace").decode()
