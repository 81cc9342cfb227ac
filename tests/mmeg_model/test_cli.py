import argparse
import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from mmeg_model.bundle_identity import BUNDLED
from mmeg_model.cli import register
from mmeg_model.corpora.synthetic import write_corpus


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers(required=True))
    given = parser.parse_args(arguments)
    return given.run(given)


def test_synth_then_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    corpus = tmp_path / "synthetic"
    assert run("synth", str(corpus), "--videos", "8", "--seconds", "0.5") == 0
    assert capsys.readouterr().out.splitlines() == [str(path) for path in sorted(corpus.glob("*.mp4"))]

    command = (
        "evaluate",
        str(BUNDLED),
        "--data",
        str(tmp_path),
        "--corpora",
        "synthetic",
        "--cache",
        str(tmp_path / "c"),
    )
    assert run(*command, "--json") == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert [(f["task"], f["modalities"], f["num_clips"]) for f in figures] == [
        (task, modalities, 8)
        for task in ("emotion", "gender")
        for modalities in ("audio", "audio+video", "video")
    ]

    assert run(*command, "--speakers", "synthetic-01") == 0
    table = capsys.readouterr().out
    assert "| emotion | synthetic | audio | 4, 1 |" in table


def test_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_corpus(tmp_path / "synthetic", num_videos=8, seconds=0.4)
    (tmp_path / "run.toml").write_text(
        'data = "."\ncorpora = ["synthetic"]\noutput = "out"\nname = "tiny"\nvalidation_folds = 2\ncache = "c"\n'
        "[training]\nnum_epochs = 1\nclips_per_epoch = 4\nbatch_size = 4\n"
    )
    assert run("train", str(tmp_path / "run.toml")) == 0
    assert (Path(capsys.readouterr().out.strip()) / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (FloatingPointError("a loss must be finite"), 3, "mmeg train: a loss must be finite"),
        (MemoryError("a step needs more memory"), 3, "mmeg train: a step needs more memory"),
        (OSError(28, "No space left on device"), 3, "mmeg train: .*No space left on device"),
        (KeyboardInterrupt(), 130, "mmeg train: interrupted; run it again, it goes on from the last epoch"),
        (ValueError("of another training"), 2, "mmeg train: of another training"),
    ],
)
def test_a_training_that_ends_early(
    error: BaseException,
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    write_corpus(tmp_path / "synthetic", num_videos=8, seconds=0.4)
    (tmp_path / "run.toml").write_text(
        'data = "."\ncorpora = ["synthetic"]\noutput = "out"\nname = "tiny"\nvalidation_folds = 2'
    )

    def ends(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mmeg_model.training.run.train", ends)
    assert run("train", str(tmp_path / "run.toml")) == status
    assert re.search(message, capsys.readouterr().err)


GRID = """
corpora = ["synthetic"]
weightings = ["uniform", { name = "dwa", label = "hot", arguments = { temperature = 1e-300 } }]
seeds = 1
folds = 2
validation_folds = 2
[training]
num_epochs = 1
clips_per_epoch = 4
batch_size = 4
sizes = { num_features = 16, video = { channels = [4, 4, 4] } }
"""


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Weights of inf / inf diverge at the first step: that stands in the page, and the other trainings beside it."""
    write_corpus(tmp_path / "data" / "synthetic", num_videos=16, seconds=0.4)
    (tmp_path / "grid.toml").write_text(GRID)
    where = {"--data": "data", "--output": "out", "--cache": "cache"}
    command = ["compare", str(tmp_path / "grid.toml"), "--jobs", "1"]
    for flag, folder in where.items():
        command += [flag, str(tmp_path / folder)]

    assert run(*command) == 1
    page = tmp_path / "out" / "grid.md"
    assert capsys.readouterr().out == f"{page}\n"
    text = page.read_text(encoding="utf-8")
    assert "**2 of 4 trainings failed.**" in text
    assert "| uniform | 2 |" in text

    page.unlink()
    assert run(*command) == 1  # only reported
    assert "4 cells, 4 of them there already" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text

    (tmp_path / "grid.toml").write_text(GRID.replace("num_epochs = 1", "num_epochs = 2"))
    assert run(*command) == 2
    assert "training.num_epochs: 1, now 2" in capsys.readouterr().err


RUN = """
corpora = ["synthetic"]
name = "tiny"
validation_folds = 2
num_workers = 0
[training]
num_epochs = 1
clips_per_epoch = 4
batch_size = 4
sizes = { num_features = 16, video = { channels = [4, 4, 4] } }
"""


def test_processes_of_one_training_share_its_folder(tmp_path: Path):
    """But a second training does not: did they not know of each other, one would be refused."""
    write_corpus(tmp_path / "synthetic", num_videos=8, seconds=0.4)
    file = tmp_path / "run.toml"
    file.write_text(f'data = "."\noutput = "out"\ncache = "cache"\n{RUN}')
    launched = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *("-m", "pipelines.cli", "train", file),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "ACCELERATE_USE_CPU": "true"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert launched.returncode == 0, launched.stderr
    assert (tmp_path / "out" / "bundle" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("command", "config", "begun"),
    [("train", RUN, "epoch 1: "), ("compare", GRID, "4 cells, 0 of them there already")],
)
def test_a_second_run_into_a_folder_is_refused(
    command: str, config: str, begun: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_corpus(tmp_path / "synthetic", num_videos=16, seconds=0.4)
    file = tmp_path / "config.toml"
    endless = config.replace("num_epochs = 1", "num_epochs = 1_000_000\npatience = 1_000_000")
    file.write_text(f'data = "."\noutput = "out"\ncache = "cache"\n{endless}')
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", command, str(file)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # its own processes end with it
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    ) as first:
        try:
            assert any(begun in line for line in first.stderr)
            assert run(command, str(file)) == 2
        finally:
            os.killpg(first.pid, signal.SIGKILL)
    message = rf"mmeg {command}: another run writes into .*/out: mmeg {command}, process {first.pid} on "
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BrokenProcessPool("gone"), r"mmeg compare: a training's process was killed .* fewer than 2 --jobs"),
        (OSError(28, "No space left on device"), r"mmeg compare: .*No space left on device"),
    ],
)
def test_a_comparison_that_ends_early(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: str,
):
    def ends(*_: object) -> None:
        raise error

    write_corpus(tmp_path / "synthetic", num_videos=16, seconds=0.4)
    (tmp_path / "grid.toml").write_text(f'data = "."\noutput = "out"\n{GRID}')
    monkeypatch.setattr("mmeg_model.comparison.run.run_grid", ends)
    assert run("compare", str(tmp_path / "grid.toml"), "--jobs", "2") == 3
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "{0}/missing.toml"], r"mmeg train: .*No such file"),
        (["evaluate", "{0}", "--data", "{0}", "--corpora", "synthetic"], r"mmeg evaluate: .* is no bundle"),
        (["evaluate", str(BUNDLED), "--data", "{0}", "--corpora", "x"], r"mmeg evaluate: unknown corpus 'x'"),
        (["compare", "{0}/missing.toml"], r"mmeg compare: .*No such file"),
        (["synth", "{0}", "--videos", "0"], r"mmeg synth: num_videos = 0 .* must be at least 1"),
    ],
)
def test_what_cannot_start(
    command: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(*(part.format(tmp_path) for part in command)) == 2
    assert re.search(message, capsys.readouterr().err)
