import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeg_model.media.errors import MediaError
from mmeg_model.media.parquet_shard import ParquetIndex, RowMember, row_group_values
from mmeg_model.media.shards import MOST_NAME_CHARACTERS


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def indexed(
    content: bytes, bytes_column: str = "video", key_column: str | None = None
) -> tuple[list[RowMember], list[str]]:
    """The members, and what was said against the shard."""
    index = ParquetIndex(io.BytesIO(content), bytes_column=bytes_column, key_column=key_column)
    members = list(index.members())
    return members, [str(error) for error in index.errors]


def values(content: bytes, row_group: int = 0, column: str = "video") -> list[bytes | None]:
    found = row_group_values(io.BytesIO(content), row_group=row_group, column=column)
    return [None if value is None else bytes(value) for value in found]


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20), st.none() | st.binary(max_size=3_000)),
        unique_by=lambda row: row[0],
        max_size=40,
    ),
    st.integers(1, 50),
    st.sampled_from(["none", "snappy", "zstd", "gzip"]),
    st.booleans(),
    st.sampled_from([pa.binary(), pa.large_binary()]),
)  # fmt: skip
def test_rows_are_those_that_were_written(
    rows: list[tuple[str, bytes | None]],
    row_group_size: int,
    compression: str,
    use_dictionary: bool,
    kind: pa.DataType,
) -> None:
    keys = pa.array([key for key, _ in rows], pa.string())
    videos = pa.array([video for _, video in rows], kind)
    content = parquet(
        {"__key__": keys, "video": videos},
        row_group_size=row_group_size,
        compression=compression,
        use_dictionary=use_dictionary,
    )
    members, errors = indexed(content)
    assert errors == []
    assert members == [
        RowMember(key, *divmod(number, row_group_size)) for number, (key, _) in enumerate(rows)
    ]
    found = [value for group in range(-(-len(rows) // row_group_size)) for value in values(content, group)]
    assert found == [video for _, video in rows]


@pytest.mark.parametrize(
    ("columns", "key_column", "names"),
    [
        ({"video": [b"a", b"b"]}, None, ["0", "1"]),
        ({"video": [b"a", b"b"], "key": ["x", "y"]}, None, ["x", "y"]),
        ({"video": [b"a", b"b"], "key": ["x", "y"], "__key__": ["u", "v"]}, None, ["u", "v"]),
        ({"video": [b"a", b"b"], "key": ["x", "y"], "id": [7, -8]}, "id", ["7", "-8"]),
        ({"video": [b"a", b"b"], "key": pa.array(["x", "y"]).dictionary_encode()}, None, ["x", "y"]),
        ({"video": [b"a", b"b"], "meta": [{"id": "m"}, {"id": "n"}]}, "meta.id", ["m", "n"]),
        ({"video": [b"a", b"b"], "key": ["x\0y", "../z"]}, None, ["x%00y", "../z"]),
    ],
)
def test_names_come_from_the_key_column(
    columns: dict[str, Any], key_column: str | None, names: list[str]
) -> None:
    members, errors = indexed(parquet(columns), key_column=key_column)
    assert [member.name for member in members] == names
    assert errors == []


def test_row_numbers_count_over_row_groups() -> None:
    members, _ = indexed(parquet({"video": [b"v"] * 5}, row_group_size=2))
    assert [member.name for member in members] == ["0", "1", "2", "3", "4"]


def test_the_field_of_a_struct_holds_the_bytes() -> None:
    content = parquet({"video": [{"bytes": b"a", "path": "x"}, None, {"bytes": None, "path": "y"}]})
    assert [member.name for member in indexed(content, "video.bytes", "video.path")[0]] == ["x", "y"]
    assert values(content, column="video.bytes") == [b"a", None, None]


def test_rows_without_a_name_of_their_own_are_left_out_and_told() -> None:
    keys = ["a", None, "b", "a", "", "a", None, "x" * (MOST_NAME_CHARACTERS + 1), None]
    members, errors = indexed(parquet({"video": [b"v"] * 9, "key": keys}, row_group_size=2))
    assert members == [RowMember("a", 0, 0), RowMember("b", 1, 0)]
    assert errors == [
        "find: NullKey: rows 1, 4, 6 and 1 more: no key in the column key; left out",
        "find: DuplicateKey: rows 3, 5: a key in the column key that a row before has; left out",
        "find: NameTooLong: row 7: a key of more than 4096 characters; left out",
    ]


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({"film": [b"v"], "key": ["k"]}, {}, r"^find: MissingColumn: there is no column video, only film, key; name one with --bytes-column$"),
        ({"video": ["text"]}, {}, r"^find: WrongColumnType: the column video holds string, not bytes$"),
        ({"video": [[b"v"]]}, {}, r"^find: WrongColumnType: the column video holds list<.*>, not bytes$"),
        ({"video": [{"path": "x"}]}, {"bytes_column": "video.bytes"}, r"^find: MissingColumn: there is no column video.bytes"),
        ({"video": [b"v"]}, {"bytes_column": "video.bytes"}, r"^find: MissingColumn: there is no column video.bytes"),
        ({"video": [b"v"]}, {"key_column": "id"}, r"^find: MissingColumn: there is no column id, only video; name one with --key-column$"),
        ({"video": [b"v"], "id": [0.5]}, {"key_column": "id"}, r"^find: WrongColumnType: the column id holds double; keys are text or whole numbers$"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit(columns: dict[str, Any], arguments: dict[str, str], message: str) -> None:
    with pytest.raises(MediaError, match=message):
        indexed(parquet(columns), **arguments)


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"no Parquet file" * 100, b"PAR1" + b"\xff" * 100 + b"PAR1"]
)
def test_what_is_no_parquet_file(content: bytes) -> None:
    with pytest.raises(MediaError, match=r"^find: BrokenParquet: no Parquet file, or its footer is broken: "):
        indexed(content)


def test_a_row_group_whose_keys_are_broken_costs_its_rows_alone() -> None:
    whole = parquet(
        {"key": ["a", "b", "c", "d"], "video": [b"v"] * 4}, row_group_size=2, compression="none", use_dictionary=False
    )  # fmt: skip
    start = pq.read_metadata(io.BytesIO(whole)).row_group(0).column(0).data_page_offset
    broken = bytearray(whole)
    broken[start : start + 8] = b"\xff" * 8
    members, errors = indexed(bytes(broken))
    assert members == [RowMember("c", 1, 0), RowMember("d", 1, 1)]
    assert len(errors) == 1
    assert errors[0].startswith("find: BrokenParquet: the keys of row group 0 cannot be read: ")


def test_a_row_group_that_is_not_there() -> None:
    with pytest.raises(MediaError, match=r"^open: BrokenParquet: there is no row group 3$"):
        values(parquet({"video": [b"v"]}), row_group=3)


class CountingFile(io.BytesIO):
    num_bytes_read = 0

    def readinto(self, buffer: Any, /) -> int:
        num_bytes = super().readinto(memoryview(buffer)[: 1 << 16])  # never all that is asked for
        self.num_bytes_read += num_bytes
        return num_bytes


@pytest.mark.parametrize("keys", [{}, {"key": list(map(str, range(20)))}], ids=["numbers", "keys"])
def test_only_the_keys_are_read_for_the_index(keys: dict[str, list[str]]) -> None:
    videos = [bytes([i]) * 1_000_000 for i in range(20)]
    file = CountingFile(parquet({**keys, "video": videos}, compression="none"))
    assert len(list(ParquetIndex(file, bytes_column="video", key_column=None).members())) == 20
    assert file.num_bytes_read < 1_000_000
