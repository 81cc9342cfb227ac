"""Whole runs of `mmeg annotate` over real files; after each, the promises of the tables are held against it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from makers.go_programs import prism
from makers.promises import assert_promises

from pipelines.cli import main

Annotate = Callable[..., int]


@pytest.fixture
def annotate() -> Annotate:
    """Run the command in this process, hold its output against the promises, give back its exit status."""

    def run(*arguments: object, output: Path, num_inputs: int | None = None) -> int:
        status = main(["annotate", *map(str, arguments), "--output", str(output)])
        assert_promises(output, num_inputs=num_inputs)
        return status

    return run


@pytest.fixture
def mmeg() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a process of its own."""

    def run(*arguments: object, **popen: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, **popen)

    return run


@pytest.fixture(scope="session")
def prism_flags(go: None) -> tuple[str, ...]:
    """Options that run a pipeline on Prism, which is built if it is not there yet."""
    return ("--runner=PrismRunner", f"--prism_location={prism()}")
