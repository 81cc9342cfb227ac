"""Lists of inputs of all four kinds, whole and damaged."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from makers.buckets import BUCKET, Fault, Proxy

from mmeg_model.media.objects import look_up
from pipelines.manifests import is_manifest_name, manifest_names


def names_in(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return list(manifest_names(str(path)))


def test_which_files_are_manifests() -> None:
    names = ("a.txt", "a.CSV", "a.jsonl", "a.parquet", "a.json", "txt", "a.mp4")
    assert [is_manifest_name(name) for name in names] == [True, True, True, True, False, False, False]


def test_jsonl_holds_strings_or_objects_and_blank_lines(tmp_path: Path) -> None:
    lines = [
        '"a.mp4"',
        "",
        '{"uri": "gs://b/\\u00e9.mp4", "speaker": 1}',
        '{"uri": "caf\\udce9.mp4"}',
        '{"uri": ""}',
        "   ",
    ]
    found = names_in(tmp_path / "list.jsonl", "\r\n".join(lines).encode())
    assert found == ["a.mp4", "gs://b/é.mp4", "caf\udce9.mp4"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a.mp4", None, "", "ü.mp4"]),
        pa.array(["a.mp4", None, "", "ü.mp4"], pa.large_string()),
        pa.array(["a.mp4", None, "", "ü.mp4"]).dictionary_encode(),
    ],
)
def test_parquet_has_a_column_of_strings(tmp_path: Path, column: pa.Array) -> None:
    table = pa.table({"speaker": [1, 2, 3, 4], "uri": column})
    pq.write_table(table, tmp_path / "list.parquet", row_group_size=2)
    assert list(manifest_names(str(tmp_path / "list.parquet"))) == ["a.mp4", "ü.mp4"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.txt", b"a\nb\0\n", "line 2 is no UTF-8 text; save it as UTF-8"),
        ("m.csv", b"uri\na\n\0\n", "line 3 is no"),
        ("m.csv", b"", "no column `uri`, only nothing"),
        ("m.csv", b"uri,n\na," + b"x" * 200_000, r"line \d is no CSV: field larger than field limit"),
        ("m.jsonl", b'"a"\n\n{"uri": "b"\n', "line 3 is no JSON: Expecting ',' delimiter"),
        ("m.jsonl", b'"a"\n{"path": "b"}\n', "line 2 is neither a string nor an object with a string `uri`"),
        ("m.jsonl", b'"a"\n{"uri": 5}\n', "line 2 is neither"),
        ("m.jsonl", b"[" * 100_000, "line 1 is no JSON"),
        ("m.jsonl", b'"a"\n"caf\xe9"\n"b\\u0000"', "line 3 is no UTF-8"),
        ("m.parquet", b"PAR1 nothing PAR1", "no Parquet file that can be read"),
        ("m.parquet", b"", "no Parquet file that can be read"),
    ],
)
def test_damage_is_said_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"the manifest .*{name} is damaged: .*{message}"):
        names_in(tmp_path / name, content)


def test_parquet_without_the_column_or_with_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"path": ["a"], "n": [1]}), path)
    with pytest.raises(ValueError, match="it has no column `uri`, only path, n"):
        list(manifest_names(str(path)))
    pq.write_table(pa.table({"uri": [1]}), path)
    with pytest.raises(ValueError, match="its column `uri` holds int64, not strings"):
        list(manifest_names(str(path)))


def test_a_parquet_manifest_with_a_broken_page_is_refused_after_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    names = [f"{i}.mp4" for i in range(50_000)]
    pq.write_table(
        pa.table({"uri": names}), path, row_group_size=10_000, use_dictionary=False, compression="zstd"
    )
    start = pq.read_metadata(path).row_group(3).column(0).data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 200] = bytes(200)
    path.write_bytes(damaged)
    found = []
    with pytest.raises(ValueError, match="no Parquet file that can be read"):
        found.extend(manifest_names(str(path)))


def test_a_manifest_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps(f"{i}.mp4") + "\n" for i in range(100_000))
        file.write("damaged")
    names = manifest_names(str(path))
    assert [next(names) for _ in range(3)] == ["0.mp4", "1.mp4", "2.mp4"]
    names.close()


@pytest.mark.parametrize("extension", [".txt", ".csv", ".jsonl", ".parquet"])
def test_a_manifest_may_lie_in_a_bucket(buckets: Proxy, tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"list{extension}"
    names = [f"videos/{i}.mp4" for i in range(1_000)]
    if extension == ".parquet":
        pq.write_table(pa.table({"uri": names}), path)
    else:
        lines = [json.dumps(name) if extension == ".jsonl" else name for name in names]
        path.write_text("\n".join(["uri", *lines] if extension == ".csv" else lines))
    buckets.upload(f"deep/list{extension}", path.read_bytes())
    found = look_up(f"gs://{BUCKET}/deep/list{extension}", stage="find")
    assert list(manifest_names(found)) == names


def test_a_manifest_in_a_bucket_that_cannot_be_read_says_so(buckets: Proxy) -> None:
    buckets.upload("list.txt", b"a\n" * 1_000)
    found = look_up(f"gs://{BUCKET}/list.txt", stage="find")
    buckets.faults.append(Fault("alt=media", 403))
    with pytest.raises(ValueError, match=r"the manifest could not be read: gs://.*list.txt may not be read"):
        list(manifest_names(found))
