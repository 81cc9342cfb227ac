import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmeg_model.training.checkpoint import differences, load_checkpoint, load_weights, save_checkpoint


def test_comes_back_without_running_code(tmp_path: Path):
    state = {"weights": {"w": torch.arange(3)}, "identity": {"sizes": {"video": {"channels": [4, 8]}}}}
    save_checkpoint(tmp_path / "new" / "checkpoint.pt", state)

    loaded = load_checkpoint(tmp_path / "new" / "checkpoint.pt")

    assert torch.equal(loaded["weights"]["w"], torch.arange(3))
    assert loaded["identity"] == state["identity"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_last_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
):
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"epoch": 1})
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match=r"No space left on device.*make room and run it again"):
        save_checkpoint(file, {"epoch": 2})

    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_full_disk_in_the_middle_of_a_checkpoint(tmp_path: Path):
    """No file of the process may grow beyond 100 kB: what torch writes ends as it does on a full disk."""
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"epoch": 1})
    before = file.read_bytes()
    script = f"""
import signal
from pathlib import Path
import torch
from mmeg_model.training.checkpoint import save_checkpoint

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    save_checkpoint(Path({str(file)!r}), {{"weights": torch.zeros(1_000_000)}})
except OSError as error:
    print(error)
"""
    wrote = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        check=False,
        capture_output=True,
        text=True,
    )
    assert wrote.returncode == 0, wrote.stderr
    assert "checkpoint.pt cannot be written" in wrote.stdout
    assert "it goes on from the last checkpoint" in wrote.stdout
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_another_format(tmp_path: Path):
    torch.save({"format": 7}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt has format 7, this version reads 2: delete it"):
        load_checkpoint(tmp_path / "checkpoint.pt")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harm",)


def test_code_in_it_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 2, "harm": Harmful()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="is no checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04 torn"])
def test_no_checkpoint(tmp_path: Path, content: bytes):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is no checkpoint: delete it to start anew"):
        load_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}, r"weight is \(1, 3\), expected \(1, 2\)"),
        ({"weight": torch.zeros(1, 2)}, r"bias is None, expected \(1,\)"),
        (
            {"weight": torch.zeros(1, 2), "bias": torch.zeros(1), "more": torch.zeros(2)},
            r"more is \(2,\), expected None",
        ),
    ],
)
def test_another_architecture(weights: dict[str, torch.Tensor], message: str):
    with pytest.raises(ValueError, match=rf"here\.pt is of another architecture: {message}"):
        load_weights(torch.nn.Linear(2, 1), weights, Path("here.pt"))


def test_differences():
    assert differences({"a": 1, "b": 2, "old": 3}, {"a": 1, "b": 4, "new": 5}) == [
        "b: 2, now 4",
        "new: None, now 5",
        "old: 3, now None",
    ]
