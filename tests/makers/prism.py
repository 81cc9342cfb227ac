"""Prism, Beam's own runner that streams on one machine: built once by Go, and kept outside of the checkout."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import apache_beam

_PACKAGE: Final = "github.com/apache/beam/sdks/v2/go/cmd/prism"


def missing_program() -> str | None:
    """What Prism needs and this machine lacks."""
    return None if prism_path().is_file() or shutil.which("go") else "go"


def prism_path() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mmeg" / f"prism-v{apache_beam.__version__}" / "prism"


def prism() -> Path:
    """The program, of the version of the Beam that is installed; building it takes minutes, once."""
    path = prism_path()
    if not path.is_file():
        partial = path.parent / str(os.getpid())
        subprocess.run(
            ["go", "install", f"{_PACKAGE}@v{apache_beam.__version__}"],
            check=True,
            env={**os.environ, "GOBIN": str(partial), "GOFLAGS": ""},
        )
        (partial / "prism").replace(path)
        partial.rmdir()
    return path
