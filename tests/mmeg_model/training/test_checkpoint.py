import os
from pathlib import Path

import pytest
import torch

from mmeg_model.training.checkpoint import load_checkpoint, save_checkpoint
from mmeg_model.training.config import TrainingConfig

CONFIG = TrainingConfig(num_epochs=3, sizes={"video": {"channels": [4, 8]}})


def test_comes_back_without_running_code(tmp_path: Path):
    network = torch.nn.Linear(2, 1)
    save_checkpoint(tmp_path / "new" / "best.pt", network, CONFIG, epoch=2)

    state = load_checkpoint(tmp_path / "new" / "best.pt")

    assert torch.equal(state["network"]["weight"], network.weight)
    assert TrainingConfig(**state["config"]) == CONFIG
    assert state["epoch"] == 2


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_last_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
):
    file = tmp_path / "best.pt"
    save_checkpoint(file, torch.nn.Linear(2, 1), CONFIG, epoch=1)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(file, torch.nn.Linear(2, 1), CONFIG, epoch=2)

    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def test_another_format(tmp_path: Path):
    torch.save({"format": 7}, tmp_path / "best.pt")
    with pytest.raises(ValueError, match=r"best\.pt has format 7, this version reads 1"):
        load_checkpoint(tmp_path / "best.pt")
