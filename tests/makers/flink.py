"""A Flink cluster on this machine: JobManager, TaskManagers and Beam's job server, each a JVM of its own, and beside each
TaskManager the pool that starts its Python workers, as in a pod.
"""

import contextlib
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

from makers.flink_jars import jars, job_server_jar
from makers.killing import descendants, kill_tree

_FOLDER: Final = Path(__file__).parents[1] / "flink"
_POOL: Final = _FOLDER / "one_address_pool.py"
NUM_TASK_MANAGERS: Final = 2
_START_SECONDS: Final = 300
_SMALL_JVM: Final = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k")
# Beam's serializers look into classes of the JDK.
_OPENED: Final = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.util", "java.lang", "java.net", "java.nio", "java.time")
)
_WORKERS_HOST: Final = "workers"
"""What each TaskManager calls the address of its own pool."""


def missing_programs() -> list[str]:
    """What a cluster needs and this machine lacks."""
    return [program for program in ("java", "mvn") if shutil.which(program) is None]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


class FlinkCluster:
    """Two TaskManagers of one slot each, and a job server that sends them what it is given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rpc, self._rest, self._job, self._artifact, self._expansion, self._pool = free_ports(6)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._killed: set[str] = set()
        self._num_task_managers = 0

    @property
    def flags(self) -> tuple[str, ...]:
        """For `mmeg annotate`: runs there, and waits long enough on a busy machine."""
        return (
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{self._job}",
            f"--flink_master={self.master}",
            "--environment_type=EXTERNAL",
            f"--environment_config={_WORKERS_HOST}:{self._pool}",
            "--cluster-deadline-seconds=300",
        )

    @property
    def master(self) -> str:
        """The address of Flink's web page."""
        return f"localhost:{self._rest}"

    @property
    def task_managers(self) -> list[str]:
        """The names of those that live, the oldest first."""
        names = (f"taskmanager-{number}" for number in range(self._num_task_managers))
        return [name for name in names if self._processes[name].poll() is None]

    def start(self) -> None:
        """Start everything, and return when it is ready for jobs."""
        self._write_configuration()
        entry_point = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        self._java("jobmanager", entry_point, "--configDir", str(self._folder))
        self._java(
            "jobserver",
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            f"--flink-master=localhost:{self._rest}",
            f"--flink-conf-dir={self._folder}",
            f"--job-port={self._job}",
            f"--artifact-port={self._artifact}",
            f"--expansion-port={self._expansion}",
            f"--artifacts-dir={self._folder / 'artifacts'}",
            class_path=str(job_server_jar()),
        )
        for _ in range(NUM_TASK_MANAGERS):
            self.add_task_manager()
        self.wait_for("slots", lambda: self._get("/overview")["slots-total"] == NUM_TASK_MANAGERS)
        self.wait_for("the job server", lambda: accepts("localhost", self._job))

    def stop(self) -> None:
        """Kill everything, in whatever state it is."""
        for process in self._processes.values():
            if process.poll() is None:
                kill_tree(process.pid)
            process.wait()

    def add_task_manager(self) -> str:
        """Start one more, with its pool; gives back its name."""
        name = f"taskmanager-{self._num_task_managers}"
        self._num_task_managers += 1
        address = f"127.0.0.{self._num_task_managers + 1}"
        hosts = self._folder / f"{name}.hosts"
        hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n{address} {_WORKERS_HOST}\n")
        self.start_pool(f"{name}-pool", f"{address}:{self._pool}")
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        self._java(name, main, "--configDir", str(self._folder), jvm=[f"-Djdk.net.hosts.file={hosts}"])
        return name

    def start_pool(self, name: str, address: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a process that starts a Python worker whenever it is asked to, and wait until it listens."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts what is called python there
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, str(_POOL), address],
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **(environment or {})},
            )
        host, _, port = address.partition(":")
        self.wait_for(name, lambda: accepts(host, int(port)))

    def kill(self, name: str) -> None:
        """SIGKILL for one process, and for that alone."""
        self._killed.add(name)
        self._processes[name].kill()
        self._processes[name].wait()

    def workers(self, task_manager: str) -> list[int]:
        """The Python workers of a TaskManager that live, and their decoders."""
        return descendants(self._processes[f"{task_manager}-pool"].pid)

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs so far, the oldest first."""
        jobs: list[dict[str, Any]] = self._get("/jobs/overview")["jobs"]
        return sorted(jobs, key=lambda job: job["start-time"])

    def is_at_work(self, job: Mapping[str, Any]) -> bool:
        """Whether a job decodes and infers now; Flink names the stage by the outermost transforms in it."""
        vertices = self._get(f"/jobs/{job['jid']}")["vertices"]
        return any("{Annotate," in vertex["name"] and vertex["status"] == "RUNNING" for vertex in vertices)

    def failures(self, job: Mapping[str, Any]) -> list[str]:
        """What has made a job start again, or fail."""
        history = self._get(f"/jobs/{job['jid']}/exceptions")["exceptionHistory"]
        return [entry["exceptionName"] for entry in history["entries"]]

    def wait_for(self, what: str, is_so: Callable[[], object], *, seconds: float = _START_SECONDS) -> None:
        """Ask until it is so; fail where a process of the cluster has ended or it takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, ValueError):  # not listening yet
                if is_so():
                    return
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if set(ended) - self._killed or time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not within {seconds} s; ended: {ended}\n{self.logs()}")
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

    def _java(
        self,
        name: str,
        main: str,
        *arguments: str,
        jvm: list[str] | None = None,
        class_path: str | None = None,
    ) -> None:
        logging = (
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
        )
        command = [
            "java",
            *_SMALL_JVM,
            *_OPENED,
            *logging,
            *(jvm or []),
            "-cp",
            class_path or f"{jars()}/*",
            main,
        ]
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
            "io.tmp.dirs": self._folder,
            "parallelism.default": NUM_TASK_MANAGERS,
            "taskmanager.numberOfTaskSlots": 1,
            # What Flink's own start script works out from one figure for the whole process.
            "taskmanager.cpu.cores": 1,
            "taskmanager.memory.framework.heap.size": "64m",
            "taskmanager.memory.framework.off-heap.size": "64m",
            "taskmanager.memory.task.heap.size": "128m",
            "taskmanager.memory.task.off-heap.size": "64m",
            "taskmanager.memory.network.min": "96m",
            "taskmanager.memory.network.max": "96m",
            "taskmanager.memory.managed.size": "128m",
            "taskmanager.memory.jvm-metaspace.size": "128m",
            "taskmanager.memory.jvm-overhead.min": "64m",
            "taskmanager.memory.jvm-overhead.max": "64m",
            "taskmanager.network.sort-shuffle.min-buffers": 64,
            # What the job server sends is on their class path too: it need not be loaded twice.
            "classloader.resolve-order": "parent-first",
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 10,
            "restart-strategy.fixed-delay.delay": "1 s",
            # A process that is gone is noticed by two heartbeats that do not get through; one that is slow, never.
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 60_000,
            "pekko.ask.timeout": "60 s",
            # All start at once: a TaskManager may be there before its JobManager, and asks again.
            "cluster.registration.error-delay": 200,
        }
        lines = [f"{name}: {value}" for name, value in configuration.items()]
        (self._folder / "config.yaml").write_text("\n".join(lines) + "\n")


@contextlib.contextmanager
def flink_cluster(folder: Path) -> Iterator[FlinkCluster]:
    """A cluster that is gone behind the block, whatever happens in it."""
    cluster = FlinkCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((host, port)) == 0
