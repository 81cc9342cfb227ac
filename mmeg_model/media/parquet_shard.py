"""A Parquet shard: a video in each row. Runs in the decoder process: its footer and pages are bytes from outside."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmeg_model.media.errors import MediaError
from mmeg_model.media.shards import MOST_MEMBERS, MOST_NAME_CHARACTERS

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DEFAULT_KEY_COLUMNS: Final = ("__key__", "key")
_KEYS_PER_BATCH: Final = 1_000
_READ_BYTES: Final = 1 << 18
_MOST_NAMED: Final = 3


class RowMember(NamedTuple):
    """A row, by its key."""

    name: str
    row_group: int
    row_in_group: int


class ParquetIndex:
    """Reads the keys of a Parquet shard, and keeps what is wrong with them."""

    def __init__(self, file: BinaryIO, *, bytes_column: str, key_column: str | None) -> None:
        """Read the footer.

        Raises:
            MediaError: if it is broken, or the columns are not what they must be.
        """
        self._shard = _open(file)
        schema = self._shard.schema_arrow
        _check_bytes(schema, bytes_column)
        self._key_column = key_column or next(
            (name for name in DEFAULT_KEY_COLUMNS if name in schema.names), None
        )
        if self._key_column is not None:
            _check_key(schema, self._key_column)
        self._seen: set[bytes] = set()
        self._num_rows = 0
        self._unnamed: dict[str, list[int]] = {"NullKey": [], "DuplicateKey": [], "NameTooLong": []}
        self._errors: list[MediaError] = []

    def members(self) -> Iterator[RowMember]:
        """Yield the rows; of several with one key, the first."""
        for row_group in range(self._shard.num_row_groups):
            num_rows = self._shard.metadata.row_group(row_group).num_rows
            try:
                with _broken(f"the keys of row group {row_group} cannot be read"):
                    for row_in_group, key in enumerate(self._keys(row_group, num_rows)):
                        if len(self._seen) == MOST_MEMBERS:
                            message = f"the shard holds more than {MOST_MEMBERS} videos, and those are annotated; split it"
                            self._errors.append(MediaError("find", "TooManyMembers", message))
                            return
                        if name := self._name(key, self._num_rows + row_in_group):
                            yield RowMember(name, row_group, row_in_group)
            except MediaError as error:
                self._errors.append(error)
            self._num_rows += num_rows

    @property
    def errors(self) -> list[MediaError]:
        """What was wrong, each kind once."""
        reasons = {
            "NullKey": f"no key in the column {self._key_column}",
            "DuplicateKey": f"a key in the column {self._key_column} that a row before has",
            "NameTooLong": f"a key of more than {MOST_NAME_CHARACTERS} characters",
        }
        return self._errors + [
            MediaError("find", error, f"{_listed(rows)}: {reasons[error]}; left out")
            for error, rows in self._unnamed.items()
            if rows
        ]

    def _keys(self, row_group: int, num_rows: int) -> Iterator[str | None]:
        if self._key_column is None:
            yield from map(str, range(self._num_rows, self._num_rows + num_rows))
            return
        batches = self._shard.iter_batches(
            batch_size=_KEYS_PER_BATCH, row_groups=[row_group], columns=[self._key_column], use_threads=False
        )
        for batch in batches:
            yield from pc.cast(_column(batch, self._key_column), pa.string()).to_pylist()

    def _name(self, key: str | None, row: int) -> str | None:
        """The name that a key gives to a row, if it can have it."""
        name = (key or "").replace("\0", "%00")
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        if not name:
            self._unnamed["NullKey"].append(row)
        elif len(name) > MOST_NAME_CHARACTERS:
            self._unnamed["NameTooLong"].append(row)
        elif digest in self._seen:
            self._unnamed["DuplicateKey"].append(row)
        else:
            self._seen.add(digest)
            return name
        return None


def row_group_values(file: BinaryIO, *, row_group: int, column: str) -> Iterator["ReadableBuffer | None"]:
    """Yield the bytes of each row of a row group, None where they are null.

    Holds one page at a time, which may be as large as the row group.

    Raises:
        MediaError: if they cannot be read.
    """
    shard = _open(file)
    _check_bytes(shard.schema_arrow, column)
    with _broken(f"row group {row_group} cannot be read"):
        if row_group >= shard.num_row_groups:
            raise MediaError("open", "BrokenParquet", f"there is no row group {row_group}")
        for batch in shard.iter_batches(
            batch_size=1, row_groups=[row_group], columns=[column], use_threads=False
        ):
            for value in _column(batch, column):
                yield value.as_buffer()


def _open(file: BinaryIO) -> pq.ParquetFile:
    with _broken("no Parquet file, or its footer is broken"):
        # To Arrow, fewer bytes than it asked for are the end of the file.
        whole_reads = io.BufferedReader(cast(io.RawIOBase, file))
        # Not buffered ahead: the parent may have to fetch each byte over a network.
        return pq.ParquetFile(pa.PythonFile(whole_reads, mode="r"), pre_buffer=False, buffer_size=_READ_BYTES)


@contextmanager
def _broken(what: str) -> Iterator[None]:
    """Name what pyarrow says against some bytes; but that memory ran out is no fault of theirs."""
    try:
        yield
    except pa.ArrowMemoryError as error:
        raise MemoryError from error
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise MediaError("find", "BrokenParquet", f"{what}: {reason:.300}") from error


def _check_bytes(schema: pa.Schema, column: str) -> None:
    found = _type_of(schema, column, "--bytes-column")
    if not (pa.types.is_binary(found) or pa.types.is_large_binary(found)):
        raise MediaError("find", "WrongColumnType", f"the column {column} holds {found}, not bytes")


def _check_key(schema: pa.Schema, column: str) -> None:
    found = _type_of(schema, column, "--key-column")
    if pa.types.is_dictionary(found):
        found = found.value_type
    if not (pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_integer(found)):
        raise MediaError(
            "find", "WrongColumnType", f"the column {column} holds {found}; keys are text or whole numbers"
        )


def _type_of(schema: pa.Schema, column: str, flag: str) -> pa.DataType:
    """The type of a column, or of a field `column.field` of a struct."""
    fields, found = schema, None
    for name in _path(schema, column):
        found = fields.field(name).type if fields.get_field_index(name) >= 0 else None
        if found is None:
            break
        fields = found if pa.types.is_struct(found) else pa.struct([])
    if found is None:
        names = ", ".join(schema.names)
        raise MediaError(
            "find", "MissingColumn", f"there is no column {column}, only {names:.300}; name one with {flag}"
        )
    return found


def _path(schema: pa.Schema, column: str) -> list[str]:
    return [column] if column in schema.names else column.split(".")


def _column(batch: pa.RecordBatch, column: str) -> pa.Array:
    name, *fields = _path(batch.schema, column)
    return pc.struct_field(batch.column(name), fields) if fields else batch.column(name)


def _listed(rows: list[int]) -> str:
    named = ", ".join(str(row) for row in rows[:_MOST_NAMED])
    others = len(rows) - _MOST_NAMED
    return f"rows {named} and {others} more" if others > 0 else f"row{'s' * (len(rows) > 1)} {named}"
