"""Members of tars, against what `tarfile` lists, and tars that nobody would write in good faith."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeg_model.media.source import printable
from mmeg_model.media.tar_index import MOST_HEADER_BYTES, TarIndex, TarMember

EXTENSIONS = (".mp4", ".wav")
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
END = bytes(1024)


def indexed(content: bytes) -> tuple[list[TarMember], TarIndex]:
    index = TarIndex(io.BytesIO(content), EXTENSIONS)
    return [member for member in index.members() if member is not None], index


def header(name: str, size: int = 0, *, kind: bytes = tarfile.REGTYPE, **attributes: object) -> bytes:
    """One header of GNU's format, whose numbers may be as large as they like."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info.tobuf(tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape")


def member(name: str, content: bytes = b"video", **attributes: object) -> bytes:
    return header(name, len(content), **attributes) + content + bytes(-len(content) % 512)


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30)
NAMES = st.builds(
    lambda parts, extension: "/".join(parts) + extension,
    st.lists(PARTS, min_size=1, max_size=6),
    st.sampled_from([".mp4", ".MP4", ".wav", ".json", ".txt", ""]),
)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=1_500)), max_size=12),
    st.sampled_from(FORMATS),
    st.sampled_from([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE]),
    st.integers(0, 3),
)
def test_members_are_those_that_tarfile_lists(
    files: list[tuple[str, bytes]], tar_format: int, kind: bytes, num_blocks_behind: int
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), kind
            try:
                tar.addfile(info, io.BytesIO(content))
            except ValueError:  # too long a name for ustar
                continue
            tar.addfile(tarfile.TarInfo("folder/") if len(content) % 2 else info_of_link(name))
    buffer.write(bytes(512 * num_blocks_behind))

    expected = {}
    num_others = 0
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar:
        for info in tar:
            is_hidden = any(p.startswith(".") and p not in (".", "..") for p in info.name.split("/"))
            if info.isdir():
                continue
            if is_hidden or not info.name.lower().endswith(EXTENSIONS):
                num_others += 1
            elif info.isreg():
                expected[printable(info.name)] = (info.offset_data, info.size)
            else:
                expected[printable(info.name)] = (0, 0)

    members, index = indexed(buffer.getvalue())
    assert index.error is None
    assert {m.name: (m.start_byte, m.num_bytes) for m in members} == expected
    assert len(members) == len(expected)
    assert index.num_others == num_others


def info_of_link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"{name[:20]}.link.mp4")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def test_ranges_hold_the_contents() -> None:
    content = member("a.mp4", b"x" * 700) + member("a.json", b"{}") + member("b/c.wav", b"yy") + END
    members, index = indexed(content)
    # by hand: a header of 512 bytes, 700 bytes padded to 1024; a header and a block; a header
    assert members == [TarMember("a.mp4", 512, 700), TarMember("b/c.wav", 512 + 1024 + 1024 + 512, 2)]
    assert [content[m.start_byte :][: m.num_bytes] for m in members] == [b"x" * 700, b"yy"]
    assert index.num_others == 1
    assert index.error is None


def test_names_are_labels() -> None:
    names = ["../up.mp4", "/etc/absolute.mp4", "./here.mp4", "a\nb\t'\".mp4", "caf\udce9.mp4", "a\\..\\b.mp4"]
    members, _ = indexed(b"".join(member(name) for name in names) + END)
    assert [m.name for m in members] == [printable(name) for name in names]
    assert members[4].name == "caf%E9.mp4"


def test_hidden_files_are_passed_over_as_in_folders() -> None:
    content = member("._a.mp4") + member(".cache/b.mp4") + member("a/.b/c.mp4") + member("a.mp4") + END
    members, index = indexed(content)
    assert [m.name for m in members] == ["a.mp4"]
    assert index.num_others == 3


def test_of_several_members_with_one_name_the_last_holds() -> None:
    content = member("a.mp4", b"old") + member("b.mp4") + member("a.mp4", b"newer") + END
    members, index = indexed(content)
    assert [(m.name, content[m.start_byte :][: m.num_bytes]) for m in members] == [
        ("b.mp4", b"video"),
        ("a.mp4", b"newer"),
    ]
    assert index.error is None


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "no file"),
        (tarfile.BLKTYPE, "no file"),
        (tarfile.FIFOTYPE, "no file"),
        (b"M", "no file"),
    ],
)
def test_what_is_no_regular_file_is_refused(kind: bytes, what: str) -> None:
    content = header("a.mp4", kind=kind, linkname="/etc/passwd") + member("b.mp4") + END
    (refused, good), index = indexed(content)
    assert refused == TarMember(
        "a.mp4", 0, 0, "NoRegularFile", f"a.mp4 is {what}; only regular files in a shard are read"
    )
    assert good.error is None
    assert index.error is None


def test_sparse_members_are_refused() -> None:
    info = tarfile.TarInfo("sparse.mp4")
    info.pax_headers = {"GNU.sparse.map": "0,5,1000,5", "GNU.sparse.size": "1005"}
    info.size = 10
    content = info.tobuf(tarfile.PAX_FORMAT) + b"0123456789" + bytes(502) + member("b.mp4") + END
    (refused, good), _ = indexed(content)
    assert refused.message == "sparse.mp4 is sparse; only regular files in a shard are read"
    assert content[good.start_byte :][: good.num_bytes] == b"video"


WHOLE = member("a.mp4", b"x" * 2_000) + member("b.json") + member("c.mp4", b"y" * 2_000) + END


@pytest.mark.parametrize("num_bytes", range(1, len(WHOLE) - len(END) + 512, 100))
def test_a_tar_that_was_cut_off_says_where_and_has_the_members_before(num_bytes: int) -> None:
    members, index = indexed(WHOLE[:num_bytes])
    ends = {"a.mp4": 512 + 2_000, "c.mp4": 512 + 2_048 + 1_024 + 512 + 2_000}
    assert [m.name for m in members] == [name for name, end in ends.items() if end <= num_bytes]
    assert index.error
    if num_bytes < 512:
        assert index.error.error == "NotATar"
    else:
        assert index.error.error == "TruncatedShard"
        assert f"ends at byte {num_bytes}" in index.error.message
        assert f"; {len(members)} videos before that were found" in index.error.message


def test_a_broken_header_in_the_middle_is_no_end() -> None:
    broken = bytearray(member("b.mp4"))
    broken[0] ^= 1
    members, index = indexed(member("a.mp4") + bytes(broken) + member("c.mp4") + END)
    assert [m.name for m in members] == ["a.mp4"]
    assert index.error
    assert (
        index.error.message == "the header at byte 1024 of the tar is broken; 1 videos before that were found"
    )


def test_tars_one_behind_the_other_lose_nothing_without_a_word() -> None:
    buffer = io.BytesIO()
    for name in ("a.mp4", "b.mp4"):
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(name))
    members, index = indexed(buffer.getvalue())
    assert [m.name for m in members] == ["a.mp4"]
    assert index.error
    assert str(index.error) == (
        "find: DataBehindEnd: behind the mark of its end, at byte 512, the tar goes on; only what stands before is read"
    )


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "NotATar"),
        (b"this is no tar" * 100, "NotATar"),
        (header("a.mp4", 8 << 60) + b"video", "TruncatedShard"),
        (header("a.mp4", -5) + b"video" + END, "BrokenHeader"),
        (header("a.mp4", -(1 << 40)) + member("b.mp4") + END, "BrokenHeader"),
        (header("././@LongLink", 8 << 60, kind=tarfile.GNUTYPE_LONGNAME) + END, "HeaderTooLarge"),
        (header("pax", 1 << 40, kind=tarfile.XHDTYPE) + END, "HeaderTooLarge"),
        (header("pax", 1 << 40, kind=tarfile.XGLTYPE) + END, "HeaderTooLarge"),
        (member("a.mp4") + b"".join(header("n", 1, kind=tarfile.GNUTYPE_LONGNAME) + b"a" + bytes(511) for _ in range(5_000)), "BrokenHeader"),
        (member("pax", b"9 size=x\n", kind=tarfile.XHDTYPE) + member("a.mp4"), "BrokenHeader"),
        (member("pax", b"11 size=-9\n", kind=tarfile.XHDTYPE) + member("a.mp4") + END, "BrokenHeader"),
        (member("x" * 90, b"a" * 5_000 + b".mp4\0", kind=tarfile.GNUTYPE_LONGNAME) + member("a") + END, "NameTooLong"),
        (header("a.mp4", 512, kind=tarfile.GNUTYPE_SPARSE), "TruncatedShard"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_hostile_tars_end_in_one_clear_error(content: bytes, error: str) -> None:
    members, index = indexed(content)
    assert index.error
    assert (index.error.stage, index.error.error) == ("find", error)
    assert index.error.message
    assert all(m.start_byte + m.num_bytes <= len(content) for m in members)


@settings(max_examples=300)
@given(st.data())
def test_mutated_tars_end(data: st.DataObject) -> None:
    content = bytearray(
        member("pax", b"20 path=a/long/x.mp4\n", kind=tarfile.XHDTYPE)
        + member("x.mp4", b"v" * 600)
        + member("n", b"b" * 200 + b".mp4\0", kind=tarfile.GNUTYPE_LONGNAME)
        + member("y.mp4")
        + header("s.mp4", 512, kind=tarfile.GNUTYPE_SPARSE)
        + bytes(512)
        + member("z.wav")
        + END
    )
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8)
    ):
        content[position] = value
        if data.draw(st.booleans()):  # or nearly every one would fail at its checksum
            start = position - position % 512
            block = content[start : start + 512]
            block[148:156] = b" " * 8
            content[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    members, _ = indexed(bytes(content))
    assert all(0 <= m.start_byte <= m.start_byte + m.num_bytes <= len(content) for m in members)
    assert len({m.name for m in members}) == len(members)


class CountingFile(io.FileIO):
    num_bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.num_bytes_read += len(content)
        return content


def test_a_large_tar_costs_its_headers_alone(tmp_path: Path) -> None:
    path = tmp_path / "large.tar"
    num_members, num_bytes = 1_000, 10_000_000
    with path.open("wb") as file:  # 10 GB, of which the disk holds the headers
        for number in range(num_members):
            file.write(header(f"{number:06d}.mp4", num_bytes))
            file.seek(num_bytes + -num_bytes % 512, os.SEEK_CUR)
        file.write(END)
    with CountingFile(path) as file:
        index = TarIndex(file, EXTENSIONS)  # type: ignore[arg-type]
        assert len([m for m in index.members() if m]) == num_members
        assert index.error is None
        assert path.stat().st_size > 10**10
        assert file.num_bytes_read < 2 * 512 * num_members


def test_the_reader_refuses_headers_longer_than_any_real_one() -> None:
    name = "d/" * 2_000 + "a.mp4"
    info = tarfile.TarInfo(name)
    (found,), _ = indexed(info.tobuf(tarfile.PAX_FORMAT) + END)
    assert found.name == name
    assert len(name) < MOST_HEADER_BYTES
