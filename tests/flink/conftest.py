"""A Flink cluster for the whole session, and what runs on it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from makers.flink import FlinkCluster, flink_cluster, missing_programs

from mmeg_model.bundle import save
from mmeg_model.networks.presets import build

Run = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    if missing := missing_programs():
        reason = f"NOTHING WAS TESTED ON FLINK: {' and '.join(missing)} missing (Debian: default-jre-headless, maven)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with flink_cluster(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, small and untrained, that is fast and has something to say."""
    sizes = {"num_features": 16, "video": {"channels": [4, 4, 4]}}
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "bundle"
    temperatures = {"emotion": 1.0, "gender": 1.0}
    save(
        folder,
        build("compact", sizes),
        name="small",
        preset="compact",
        sizes=sizes,
        temperatures=temperatures,
    )
    return folder


Command = Callable[..., list[str]]


@pytest.fixture
def command(bundle: Path) -> Command:
    """The words of a command, for a process of its own, as anywhere but on a laptop."""

    def words(*arguments: object, bundle: Path = bundle) -> list[str]:
        return [sys.executable, "-m", "pipelines.cli", "annotate", *map(str, arguments), f"--bundle={bundle}"]

    return words


@pytest.fixture
def annotate(command: Command) -> Callable[..., Run]:
    """Run the command, and give back how it ended."""

    def run(*arguments: object, **options: Any) -> Run:
        words = command(*arguments, **{k: options.pop(k) for k in ("bundle",) if k in options})
        return subprocess.run(words, capture_output=True, text=True, timeout=900, check=False, **options)

    return run
