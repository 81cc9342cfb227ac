import os
from pathlib import Path

import pytest

from mmeg_model.whole import written_whole


def test_it_appears_when_the_block_ends(tmp_path: Path):
    file = tmp_path / "new" / "file"
    with written_whole(file) as temporary:
        temporary.write(b"all of it")
        assert not file.exists()
    assert file.read_bytes() == b"all of it"
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_a_block_that_raises_leaves_what_was_there(tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def cut_short() -> None:
        with written_whole(file) as temporary:
            temporary.write(b"ne")
            raise KeyError("cut short")

    with pytest.raises(KeyError, match="cut short"):
        cut_short()
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str):
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left on device"), written_whole(file) as temporary:
        temporary.write(b"new")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_others_may_read_it_as_any_file(tmp_path: Path):
    (tmp_path / "plain").touch()
    with written_whole(tmp_path / "whole") as file:
        file.write(b"x")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode
