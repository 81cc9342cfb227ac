"""What a Flink cluster is made of: Maven fetches it, once for each environment and pom.xml."""

import contextlib
import hashlib
import os
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

_POM: Final = Path(__file__).parents[1] / "flink" / "pom.xml"
_SERVICES: Final = "META-INF/services/"
_NOT_OF_JOB_SERVER: Final = ("flink-rpc-akka-loader", "flink-shaded-zookeeper")
"""Large, and of the cluster alone."""
_SIGNATURES: Final = (".SF", ".RSA", ".DSA")


def jars() -> Path:
    """The folder of the jars."""
    folder = _kept() / "jars"

    def fetch(partial: Path) -> None:
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}")
        subprocess.run(
            ["mvn", "--batch-mode", "--quiet", "--file", str(_POM), *goal], check=True, timeout=280
        )

    return _made(folder, fetch)


def job_server_jar() -> Path:
    """All of it that the job server needs, in one jar.

    It sends what is on its class path to the cluster with each job, file by file: 160 files take 15 s, one takes 3.
    """
    sources = [jar for jar in sorted(jars().glob("*.jar")) if not jar.name.startswith(_NOT_OF_JOB_SERVER)]

    def merge(partial: Path) -> None:
        services: dict[str, list[bytes]] = defaultdict(list)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as merged:
            merged.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\nMulti-Release: true\n")
            seen = set(merged.namelist())
            for source in sources:
                with zipfile.ZipFile(source) as jar:
                    for name in jar.namelist():
                        if name.startswith(_SERVICES) and not name.endswith("/"):
                            services[name].append(jar.read(name))
                        elif name not in seen and not name.endswith(("/", "module-info.class", *_SIGNATURES)):
                            seen.add(name)
                            merged.writestr(name, jar.read(name))
            for name, providers in services.items():
                merged.writestr(name, b"\n".join(providers))

    return _made(_kept() / "job-server.jar", merge)


def _kept() -> Path:
    return Path(sys.prefix) / "share" / "flink" / hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]


def _made(path: Path, make: Callable[[Path], None]) -> Path:
    """What `make` makes under a name of its own; another process may be faster."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        make(partial)
        with contextlib.suppress(OSError):
            partial.rename(path)
    return path
