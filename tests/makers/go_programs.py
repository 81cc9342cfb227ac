"""Programs in Go that tests need, built once and kept outside of the checkout: Prism, and the fake of Pub/Sub."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import apache_beam

_PRISM: Final = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{apache_beam.__version__}"
_FAKE: Final = Path(__file__).parents[1] / "pubsub"


def has_go() -> bool:
    return shutil.which("go") is not None


def prism() -> Path:
    """Beam's own runner that streams on one machine, of the version of the Beam that is installed."""
    return _built(f"prism-v{apache_beam.__version__}", ["go", "install", _PRISM], "prism", Path("/"))


@contextlib.contextmanager
def pubsub() -> Iterator[str]:
    """The fake that Google's library tests itself with, for as long as this lasts; gives its address."""
    content = hashlib.sha256((_FAKE / "main.go").read_bytes() + (_FAKE / "go.sum").read_bytes()).hexdigest()
    program = _built(f"pubsub-{content[:16]}", ["go", "install", "."], "pubsub_fake", _FAKE)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        assert process.stdin
        process.stdin.close()


def _built(folder: str, command: Sequence[str], program: str, place: Path) -> Path:
    """Takes minutes, once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "mmeg" / folder / program
    if not path.is_file():
        partial = path.parent / str(os.getpid())
        subprocess.run(
            command, check=True, cwd=place, env={**os.environ, "GOBIN": str(partial), "GOFLAGS": ""}
        )
        (partial / program).replace(path)
        partial.rmdir()
    return path
