import os
from pathlib import Path

import pytest

from pipelines.find_videos import FindReport, Found, find_videos


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with videos, sounds, other files, hidden ones and a folder inside."""
    for name in ("b.mp4", "a.MKV", "notes.txt", "list.csv", ".hidden.mp4", "deep/c.wav", ".cache/d.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def names(found: list[Found], root: Path) -> list[str]:
    return [os.path.relpath(item.video.location, root) for item in found if item.video]


def test_folder_yields_media_recursively_in_order_and_counts_the_rest(archive: Path) -> None:
    report = FindReport()
    found = list(find_videos([str(archive)], report))
    assert names(found, archive) == ["a.MKV", "b.mp4", "deep/c.wav"]
    assert report.num_other_files == 2  # notes.txt, list.csv: a manifest in a folder is none
    assert [item.num_bytes for item in found] == [5, 5, 10]
    assert not any(item.failure for item in found)


def test_version_is_size_and_mtime_in_nanoseconds(archive: Path) -> None:
    os.utime(archive / "b.mp4", ns=(1, 1_700_000_000_123_456_789))
    (found,) = find_videos([str(archive / "b.mp4")])
    assert found.video
    assert found.video.version == "5-1700000000123456789"


def test_named_twice_by_folder_and_by_glob_is_one_video(archive: Path) -> None:
    report = FindReport()
    inputs = [str(archive / "b.mp4"), str(archive), str(archive / "*.mp4"), f"{archive}/deep/../b.mp4"]
    found = list(find_videos(inputs, report))
    assert names(found, archive) == ["b.mp4", "a.MKV", "deep/c.wav"]
    assert report.num_repeated == 3


def test_a_link_to_itself_costs_itself_alone(archive: Path) -> None:
    (archive / "loop.mp4").symlink_to("loop.mp4")
    found = list(find_videos([str(archive)]))
    assert names(found, archive) == ["a.MKV", "b.mp4", "loop.mp4", "deep/c.wav"]
    assert [item.failure.error for item in found if item.failure] == ["OSError"]


def test_a_link_is_a_video_of_its_own_name(archive: Path) -> None:
    (archive / "link.mp4").symlink_to(archive / "b.mp4")
    assert names(list(find_videos([str(archive)])), archive) == ["a.MKV", "b.mp4", "link.mp4", "deep/c.wav"]


@pytest.mark.parametrize("name", ["[1] a*b?.mp4", "a b'\"#%41?é\n.mp4", "пример 例.mp4"])
def test_a_literal_name_never_goes_through_a_glob_matcher(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    (found,) = find_videos([str(tmp_path / name)])
    assert found.video
    assert found.video.uri == str(tmp_path / name)


def test_bytes_that_are_no_utf8_are_percent_escaped_in_the_uri_and_still_open(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    (found,) = find_videos([str(tmp_path)])
    assert found.video
    assert found.video.uri == f"{tmp_path}/caf%E9.mp4"
    assert os.fsencode(found.video.location) == raw


def test_text_manifest_is_relative_to_its_folder_and_skips_blank_lines(archive: Path) -> None:
    manifest = archive / "deep" / "list.txt"
    manifest.write_bytes(
        b"\xef\xbb\xbf../b.mp4\r\n\n   \nc.wav\n" + os.fsencode(archive) + b"/a.MKV\n../nobody.mp4"
    )
    found = list(find_videos([str(manifest)]))
    assert names(found, archive) == ["b.mp4", "deep/c.wav", "a.MKV", "nobody.mp4"]
    assert [item.failure.error if item.failure else None for item in found] == [
        None,
        None,
        None,
        "FileNotFoundError",
    ]


def test_csv_manifest_takes_the_column_uri(archive: Path) -> None:
    manifest = archive / "list.csv"
    odd = archive / 'with, "comma"\nand newline.mp4'
    odd.write_bytes(b"x")
    manifest.write_text('speaker,uri\n1,b.mp4\n2,\n3,"with, ""comma""\nand newline.mp4"\n')
    assert names(list(find_videos([str(manifest)])), archive) == ["b.mp4", odd.name]


def test_csv_manifest_without_uri_says_which_columns_there_are(archive: Path) -> None:
    (archive / "list.csv").write_text("path,speaker\nb.mp4,1\n")
    with pytest.raises(ValueError, match=r"no column `uri`, only path, speaker"):
        list(find_videos([str(archive / "list.csv")]))


def test_a_name_that_does_not_exist_is_a_failed_video_without_version(tmp_path: Path) -> None:
    (found,) = find_videos([str(tmp_path / "nobody.mp4")])
    assert found.video
    assert found.video.version is None
    assert found.failure
    assert (found.failure.stage, found.failure.error) == ("find", "FileNotFoundError")
    assert "nobody.mp4: No such file or directory" in found.failure.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("*.avi", "matches no file"),
        ("empty", "holds no video or sound file"),
        ("blank.txt", "names no video"),
    ],
)
def test_what_yields_nothing_is_a_failure_of_no_video(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text("\n\n")
    (found,) = find_videos([str(tmp_path / name)])
    assert found.video is None
    assert found.failure
    assert message in found.failure.message


def test_a_glob_over_folders_reads_the_folders(archive: Path) -> None:
    assert names(list(find_videos([f"{archive}/d*"])), archive) == ["deep/c.wav"]


def test_messages_can_be_stored_whatever_the_name(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(folder).mkdir()
    for found in find_videos([folder, f"{folder}/*.avi", f"{folder}/nobody.mp4"]):
        assert found.failure
        assert "caf%E9" in found.failure.message.encode().decode()


def test_other_addresses_are_refused() -> None:
    with pytest.raises(ValueError, match=r"https://host/v.mp4: only files on this machine and gs://… can be"):
        list(find_videos(["https://host/v.mp4"]))


@pytest.fixture
def odd_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose own name would be a pattern, beside one that it would match."""
    for name in ("[2024] show/a.mkv", "2 show/other.mkv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "[2024] show")
    return tmp_path / "[2024] show"


def test_the_working_folder_is_no_pattern(odd_folder: Path) -> None:
    assert names(list(find_videos(["*.mkv"])), odd_folder) == ["a.mkv"]


def test_a_missing_name_in_a_manifest_beside_odd_characters_is_a_failed_video(odd_folder: Path) -> None:
    (odd_folder / "list.txt").write_text("missing.mkv\n")
    (found,) = find_videos(["list.txt"])
    assert found.video
    assert found.video.location == str(odd_folder / "missing.mkv")


def test_links_that_lead_back_up_are_followed_once(archive: Path) -> None:
    (archive / "deep" / "up").symlink_to(archive)
    found = names(list(find_videos([f"{archive}/**/*.wav"])), archive)
    assert found == ["deep/c.wav"]


def test_links_to_folders_are_counted_not_entered(archive: Path) -> None:
    (archive / "linked").symlink_to(archive / "deep")
    report = FindReport()
    assert names(list(find_videos([str(archive)], report)), archive) == ["a.MKV", "b.mp4", "deep/c.wav"]
    assert report.num_linked_folders == 1


def test_a_link_followed_by_two_dots_is_followed(archive: Path, tmp_path: Path) -> None:
    (archive / "deep" / "inner").mkdir()
    (archive / "shortcut").symlink_to(archive / "deep" / "inner")
    (found,) = find_videos([f"{archive}/shortcut/../c.wav"])
    assert found.video
    assert Path(found.video.location).read_bytes() == b"deep/c.wav"


@pytest.mark.parametrize("pattern", ["", "/**/*.mp4"])
def test_folders_are_listed_as_they_are_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "v.mp4").touch()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr("os.scandir", lambda path: listed.append(path) or scandir(path))
    found = find_videos([f"{tmp_path}{pattern}"])
    assert names([next(found)], tmp_path) == ["a/v.mp4"]
    assert listed == [str(tmp_path), str(tmp_path / "a")]
    assert names(list(found), tmp_path) == ["b/v.mp4", "c/v.mp4"]


def test_a_glob_enters_links_to_folders_only_where_a_part_names_them(archive: Path) -> None:
    (archive / "linked").symlink_to(archive / "deep")
    report = FindReport()
    assert names(list(find_videos([f"{archive}/l*/*.wav"], report)), archive) == ["linked/c.wav"]
    assert names(list(find_videos([f"{archive}/**/c.wav"], report)), archive) == ["deep/c.wav"]
    assert report.num_linked_folders == 1


def test_two_slashes_are_one(archive: Path) -> None:
    assert len(list(find_videos([f"/{archive}/b.mp4", f"{archive}//b.mp4"]))) == 1


def test_another_address_in_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3://bucket/v.mp4\n")
    with pytest.raises(ValueError, match=r"s3://bucket/v.mp4: only files on this machine and gs://… can be"):
        list(find_videos([str(tmp_path / "list.txt")]))


def test_a_manifest_in_a_manifest_is_a_file(archive: Path) -> None:
    (archive / "outer.txt").write_text("list.csv\n")
    (found,) = find_videos([str(archive / "outer.txt")])
    assert found.video
    assert found.video.location == str(archive / "list.csv")


def test_a_manifest_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("v.mp4\n", encoding="utf-16")
    with pytest.raises(ValueError, match="is no UTF-8 text; save it as UTF-8"):
        list(find_videos([str(tmp_path / "list.txt")]))


def test_a_folder_that_cannot_be_listed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", denied)  # the tests may run as root, whom nothing is denied
    (found,) = find_videos([str(tmp_path)])
    assert found.failure
    assert found.failure.message == f"the folder {tmp_path} could not be listed: Permission denied"
