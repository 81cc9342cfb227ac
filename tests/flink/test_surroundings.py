"""A cluster that is not there, or not fit, is told of before anything is touched."""

import platform
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from makers.flink import FlinkCluster, free_ports

Run = subprocess.CompletedProcess[str]
pytestmark = pytest.mark.timeout(
    900
)  # the cluster starts in the first test, and all its JVMs share the cores

OTHER_BEAM = """
import apache_beam.version
apache_beam.version.__version__ = "2.1.0"
"""
OTHER_PYTHON = """
import platform
platform.python_version = lambda: "3.9.1"
"""


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"never read")
    return path


def assert_untouched(done: Run, output: Path, *reasons: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for reason in reasons:
        assert reason in done.stderr
    assert not output.exists()


def test_nobody_listens(sound: Path, annotate: Callable[..., Run], tmp_path: Path) -> None:
    (port,) = free_ports(1)
    flags = ("--runner=FlinkRunner", f"--job_endpoint=localhost:{port}")
    done = annotate(sound, "--output", tmp_path / "out", *flags)
    reason = f"--job_endpoint localhost:{port}: no job server answers there"
    assert_untouched(done, tmp_path / "out", reason, "Connection refused", "templates/flink/README.md")


def test_a_job_server_without_a_runner(sound: Path, annotate: Callable[..., Run], tmp_path: Path) -> None:
    done = annotate(sound, "--output", tmp_path / "out", "--job_endpoint=localhost:8099")
    assert_untouched(done, tmp_path / "out", "--job_endpoint needs a runner: give --runner=FlinkRunner")


def test_a_flag_that_even_the_job_server_does_not_know(
    sound: Path, cluster: FlinkCluster, annotate: Callable[..., Run], tmp_path: Path
) -> None:
    done = annotate(sound, "--output", tmp_path / "out", *cluster.flags, "--checkpointing_intervall=9")
    assert_untouched(done, tmp_path / "out", "unknown flag --checkpointing_intervall=9")


def test_nobody_starts_workers(
    sound: Path, cluster: FlinkCluster, annotate: Callable[..., Run], tmp_path: Path
) -> None:
    """The job fails and starts again until the deadline."""
    (port,) = free_ports(1)
    flags = (*cluster.flags, f"--environment_config=localhost:{port}", "--cluster-deadline-seconds=8")
    done = annotate(sound, "--output", tmp_path / "out", *flags)
    assert_untouched(
        done, tmp_path / "out", "the workers of the cluster are not fit for this run", "Connection refused"
    )


@pytest.fixture
def other_workers(cluster: FlinkCluster, tmp_path: Path) -> Iterator[Callable[[str, str], tuple[str, ...]]]:
    """Flags for workers whose Python finds one file more than ours."""
    names = []

    def flags(file: str, content: str) -> tuple[str, ...]:
        path = tmp_path / "site" / file
        path.parent.mkdir(parents=True)
        path.write_text(content)
        (port,) = free_ports(1)
        names.append(f"pool-at-{port}")
        cluster.start_pool(names[-1], f"localhost:{port}", {"PYTHONPATH": str(tmp_path / "site")})
        return (*cluster.flags, f"--environment_config=localhost:{port}")

    yield flags
    for name in names:
        cluster.kill(name)


def test_workers_have_another_mmeg(
    sound: Path, cluster: FlinkCluster, annotate: Callable[..., Run], tmp_path: Path, other_workers
) -> None:
    flags = other_workers(
        "mmeg-9.9.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: mmeg\nVersion: 9.9.9\n"
    )
    done = annotate(sound, "--output", tmp_path / "out", *flags)
    assert_untouched(
        done, tmp_path / "out", "the workers have mmeg 9.9.9, the launcher 0.", "start both from one image"
    )


@pytest.mark.parametrize(
    ("content", "theirs", "ours"),
    [
        pytest.param(OTHER_BEAM, "Beam 2.1.0", beam.__version__, id="beam"),
        pytest.param(OTHER_PYTHON, "Python 3.9", platform.python_version().rpartition(".")[0], id="python"),
    ],
)
def test_workers_have_another(
    content: str,
    theirs: str,
    ours: str,
    sound: Path,
    cluster: FlinkCluster,
    annotate: Callable[..., Run],
    tmp_path: Path,
    other_workers,
) -> None:
    flags = other_workers("sitecustomize.py", content)
    done = annotate(sound, "--output", tmp_path / "out", *flags)
    reason = f"the workers have {theirs}, the launcher {ours}: start both from one image"
    assert_untouched(done, tmp_path / "out", reason)


def test_no_worker_answers(
    sound: Path, cluster: FlinkCluster, annotate: Callable[..., Run], tmp_path: Path
) -> None:
    with socket.create_server(("localhost", 0)) as silent:
        address = f"localhost:{silent.getsockname()[1]}"
        flags = (*cluster.flags, f"--environment_config={address}", "--cluster-deadline-seconds=8")
        done = annotate(sound, "--output", tmp_path / "out", *flags)
    reasons = (
        "no worker of the cluster answered within 8 s: it has no free slot (the job of an earlier launcher",
        "Flink's web page",
    )
    assert_untouched(done, tmp_path / "out", *reasons)
    cluster.wait_for("its end", lambda: cluster.jobs()[-1]["state"] == "CANCELED")


def test_workers_lack_the_model(
    sound: Path, cluster: FlinkCluster, annotate: Callable[..., Run], bundle: Path, tmp_path: Path
) -> None:
    """A path that leads elsewhere on the workers, which have another working directory."""
    done = annotate(
        sound,
        "--output",
        tmp_path / "out",
        *cluster.flags,
        bundle=Path("/proc/self/cwd/bundle"),
        cwd=bundle.parent,
    )
    assert_untouched(
        done, tmp_path / "out", "the workers cannot load the model (BundleError: /proc/self/cwd/bundle"
    )
