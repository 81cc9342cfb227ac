"""A Flink cluster on this machine: JobManager, TaskManagers and Beam's job server, each a JVM of its own, and the pool
that starts Python workers outside of them.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from makers.killing import descendants, kill_tree

POM: Final = Path(__file__).parents[1] / "flink" / "pom.xml"
NUM_TASK_MANAGERS: Final = 2
SLOTS_EACH: Final = 1
_START_SECONDS: Final = 60
_SMALL_JVM: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k")
# Beam's serializers look into classes of the JDK.
_OPENED: Final = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.util", "java.lang", "java.net", "java.nio", "java.time")
)


def missing_programs() -> list[str]:
    """What a cluster needs and this machine lacks."""
    return [program for program in ("java", "mvn") if shutil.which(program) is None]


def jars() -> Path:
    """The folder of the jars, which Maven fetches once for each environment and pom.xml."""
    folder = Path(sys.prefix) / "share" / "flink" / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}")
        subprocess.run(["mvn", "--batch-mode", "--quiet", "--file", str(POM), *goal], check=True, timeout=280)
        with contextlib.suppress(OSError):  # another process was faster
            partial.rename(folder)
    return folder


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class FlinkCluster:
    """Two TaskManagers of two slots each, and a job server that sends them what it is given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._classpath = f"{jars()}/*"
        self._rpc, self._rest, self._job, self._artifact, self._expansion, self._pool = free_ports(6)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._num_task_managers = 0

    @property
    def job_endpoint(self) -> str:
        return f"localhost:{self._job}"

    @property
    def flags(self) -> tuple[str, ...]:
        """For `mmeg annotate`: runs there, with the workers of the pool."""
        return ("--runner=PortableRunner", f"--job_endpoint={self.job_endpoint}", *self.worker_flags())

    def worker_flags(self, port: int | None = None) -> tuple[str, ...]:
        """For `mmeg annotate`: takes the workers of the pool at a port, by default this cluster's own."""
        return ("--environment_type=EXTERNAL", f"--environment_config=localhost:{port or self._pool}")

    def start(self) -> None:
        """Start everything, and return when it is ready for jobs."""
        self._write_configuration()
        entry_points = "org.apache.flink.runtime"
        self._java(
            "jobmanager", f"{entry_points}.entrypoint.StandaloneSessionClusterEntrypoint", heap_mib=256
        )
        for _ in range(NUM_TASK_MANAGERS):
            self.add_task_manager()
        self._java(
            "jobserver",
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            f"--flink-master=localhost:{self._rest}",
            f"--flink-conf-dir={self._folder}",
            f"--job-port={self._job}",
            f"--artifact-port={self._artifact}",
            f"--expansion-port={self._expansion}",
            f"--artifacts-dir={self._folder / 'artifacts'}",
            heap_mib=256,
        )
        self.start_worker_pool()
        self.wait_for("slots", lambda: self.overview()["slots-total"] == NUM_TASK_MANAGERS * SLOTS_EACH)
        self.wait_for("the job server", lambda: _accepts(self._job))

    def stop(self) -> None:
        """Kill everything, in whatever state it is."""
        for process in self._processes.values():
            if process.poll() is None:
                kill_tree(process.pid)
            process.wait()

    def add_task_manager(self) -> str:
        """Start one more; gives back its name."""
        name = f"taskmanager-{self._num_task_managers}"
        self._num_task_managers += 1
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        self._java(name, main, "--configDir", str(self._folder), heap_mib=256)
        return name

    def kill(self, name: str) -> None:
        """SIGKILL for one process, and for that alone."""
        process = self._processes[name]
        process.kill()
        process.wait()

    def start_worker_pool(self) -> None:
        self._processes["workers"] = worker_pool(self._pool, self._folder / "workers.log")

    def workers(self) -> list[int]:
        """The Python workers that the pool has started and that live."""
        return descendants(self._processes["workers"].pid)

    def overview(self) -> dict[str, Any]:
        return self._get("/overview")

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs so far, the newest first."""
        jobs = self._get("/jobs/overview")["jobs"]
        return sorted(jobs, key=lambda job: job["start-time"], reverse=True)

    def num_restarts(self, job: Mapping[str, Any]) -> int:
        metrics = self._get(f"/jobs/{job['jid']}/metrics?get=numRestarts")
        return int(metrics[0]["value"])

    def wait_for(self, what: str, is_there: Callable[[], object], *, seconds: float = _START_SECONDS) -> None:
        """Ask until it is so; fail where a process of the cluster has ended or it takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, ValueError):  # not yet listening
                if is_there():
                    return
            ended = [name for name, process in self._processes.items() if process.poll() not in (None, -9)]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{what}: {ended} ended, or not within {seconds} s\n{self.logs()}")
            time.sleep(0.05)

    def logs(self, lines: int = 30) -> str:
        """The last lines of each process, for the message of a test that fails."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in sorted(self._folder.glob("*.log"))
        )

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://localhost:{self._rest}{path}", timeout=10) as answer:
            return json.load(answer)

    def _java(self, name: str, main: str, *arguments: str, heap_mib: int) -> None:
        if not arguments:
            arguments = ("--configDir", str(self._folder))
        levels = "-Dorg.slf4j.simpleLogger.defaultLogLevel=info"
        command = ["java", f"-Xmx{heap_mib}m", *_SMALL_JVM, *_OPENED, levels, "-cp", self._classpath, main]
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [*command, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "FLINK_CONF_DIR": str(self._folder)},
            )

    def _write_configuration(self) -> None:
        configuration = {
            "jobmanager.rpc.address": "localhost",
            "jobmanager.rpc.port": self._rpc,
            "jobmanager.bind-host": "localhost",
            "taskmanager.host": "localhost",
            "taskmanager.bind-host": "localhost",
            "rest.address": "localhost",
            "rest.port": self._rest,
            "rest.bind-port": self._rest,
            "io.tmp.dirs": str(self._folder),
            "parallelism.default": NUM_TASK_MANAGERS * SLOTS_EACH,
            "taskmanager.numberOfTaskSlots": SLOTS_EACH,
            # What Flink's own start script works out from one figure for the whole process.
            "taskmanager.cpu.cores": 2,
            "taskmanager.memory.framework.heap.size": "64m",
            "taskmanager.memory.framework.off-heap.size": "64m",
            "taskmanager.memory.task.heap.size": "128m",
            "taskmanager.memory.task.off-heap.size": "64m",
            "taskmanager.memory.network.min": "96m",
            "taskmanager.memory.network.max": "96m",
            "taskmanager.network.sort-shuffle.min-buffers": 64,
            "taskmanager.memory.managed.size": "128m",
            "taskmanager.memory.jvm-metaspace.size": "128m",
            "taskmanager.memory.jvm-overhead.min": "64m",
            "taskmanager.memory.jvm-overhead.max": "64m",
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 3,
            "restart-strategy.fixed-delay.delay": "1 s",
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 8000,
        }
        lines = [f"{name}: {value}" for name, value in configuration.items()]
        (self._folder / "config.yaml").write_text("\n".join(lines) + "\n")


def worker_pool(
    port: int, log: Path, *, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start the process that starts a Python worker whenever a TaskManager asks it to, and wait until it listens."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts what is called python there
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path, **(environment or {})},
        )
    deadline = time.monotonic() + _START_SECONDS
    while not _accepts(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker pool did not start:\n{log.read_text()}")
        time.sleep(0.05)
    return process


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[FlinkCluster]:
    """A cluster that is gone behind the block, whatever happens in it."""
    flink = FlinkCluster(folder)
    try:
        flink.start()
        yield flink
    finally:
        flink.stop()


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("localhost", port)) == 0
