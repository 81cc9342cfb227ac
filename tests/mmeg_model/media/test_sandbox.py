import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mmeg_model.media import sandbox
from mmeg_model.media.decoders import DecoderLimits, Decoders
from mmeg_model.media.source import VideoRef

OBEDIENT = (sys.executable, "-P", str(Path(__file__).with_name("obedient_decoder.py")))
LIMITS = DecoderLimits(deadline_seconds=60.0, memory_bytes=1 << 30)
REFUSED = ["PermissionError"]

IN_FORCE = json.loads(
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import json; from mmeg_model.media.sandbox import *; print(json.dumps(enter_sandbox()))",
        ],
        check=True,
        capture_output=True,
    ).stdout
)
"""What this kernel can enforce: Landlock, seccomp."""


def need(mechanism):
    """Skip where the kernel has it not; every Linux in use has seccomp, so that is a failure under CI."""
    if not IN_FORCE[sandbox.Sandbox._fields.index(mechanism)]:
        reason = f"this kernel does not let a process use {mechanism}"
        if mechanism == "seccomp" and os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def obedient():
    with Decoders(num_decoders=1, limits=LIMITS, command=OBEDIENT) as decoders:
        yield decoders


@pytest.fixture
def in_decoder(obedient, tmp_path):
    """Run code in a decoder process, and give back what it leaves in `answer`."""

    def run(code):
        path = tmp_path / "code.mp4"
        path.write_text(code)
        return json.loads(obedient.probe(VideoRef(str(path))).container)

    return run


def attempt(code, names="os, socket, signal, ctypes, subprocess, resource"):
    """Code whose answer is `done`, or the name of the error that stopped it."""
    return f"""
import {names}
try:
    {code}
    answer = ["done"]
except OSError as error:
    answer = [type(error).__name__]
"""


@pytest.mark.parametrize(
    "deed",
    [
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socketpair()",
        "socket.create_connection(('127.0.0.1', {port}))",
        "os.fork()",
        "subprocess.run(['/bin/true'])",
        "os.posix_spawn('/bin/true', ['true'], {{}})",
        "os.execv('/bin/true', ['true'])",
        "os.kill({parent}, 0)",
        "os.kill(-1, signal.SIGKILL)",
        "open('{folder}/new', 'w')",
        "os.open('{folder}/new', os.O_CREAT | os.O_RDONLY)",
        "open('{folder}/old', 'r+')",
        "os.truncate('{folder}/old', 0)",
        "os.unlink('{folder}/old')",
        "os.rename('{folder}/old', '{folder}/new')",
        "os.mkdir('{folder}/new')",
        "os.symlink('/etc/passwd', '{folder}/new')",
        "os.link('{folder}/old', '{folder}/new')",
        "os.chmod('{folder}/old', 0)",
        "os.setxattr('{folder}/old', 'user.x', b'')",
        "os.chroot('/')",
    ],
)
def test_who_takes_a_decoder_over_has_no_network_no_programs_and_writes_nothing(in_decoder, tmp_path, deed):
    need("seccomp")
    (tmp_path / "old").write_text("precious")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        code = deed.format(port=port, parent=os.getpid(), folder=tmp_path)
        assert in_decoder(attempt(code)) == REFUSED
        with pytest.raises(BlockingIOError, match="temporarily unavailable"):
            server.accept()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code.mp4", "old"]
    assert (tmp_path / "old").read_text() == "precious"


@pytest.mark.parametrize("call", ["clone3", "openat2", "io_uring_setup", "x32 socket"])
def test_no_other_way_round_by_newer_calls(in_decoder, call):
    need("seccomp")
    if call == "x32 socket" and platform.machine() != "x86_64":
        return
    number = {"clone3": 435, "openat2": 437, "io_uring_setup": 425, "x32 socket": 0x4000_0000 + 41}[call]
    code = f"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall({number}, 0, 0, 0, 0)
answer = errno.errorcode[ctypes.get_errno()]
"""
    assert in_decoder(code) in ("EPERM", "ENOSYS")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{folder}/secret", "/proc/{parent}/environ", "/proc/{parent}/cmdline"]
)
def test_files_of_others_cannot_be_read_by_name(in_decoder, tmp_path, path):
    need("landlock")
    (tmp_path / "secret").write_text("secret")
    name = path.format(folder=tmp_path, parent=os.getpid())
    assert in_decoder(attempt(f"open({name!r}, 'rb').read()")) == REFUSED


def test_folders_of_others_cannot_be_listed(in_decoder, tmp_path):
    need("landlock")
    assert in_decoder(attempt(f"os.listdir({str(tmp_path)!r})")) == REFUSED


def test_limits_cannot_be_raised_again(in_decoder):
    need("seccomp")
    code = """
import resource
answer = []
for name in ("CORE", "FSIZE", "NOFILE", "DATA"):
    limit = getattr(resource, f"RLIMIT_{name}")
    before = resource.getrlimit(limit)
    try:
        resource.setrlimit(limit, (before[0] + 1, before[1] + 1))
    except (ValueError, PermissionError):
        answer.append(resource.getrlimit(limit) == before)
"""
    assert in_decoder(code) == [True] * 4


def test_what_decoders_need_stays(in_decoder):
    """Threads, libraries that are imported late, passed sockets, signals to itself."""
    code = """
import io, os, signal, socket, threading
import pyarrow.parquet as pq
import pyarrow as pa
done = []
thread = threading.Thread(target=done.append, args=(1,))
thread.start()
thread.join()
buffer = io.BytesIO()
pq.write_table(pa.table({"a": [1, 2]}), buffer)
received = []
signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
answer = [done, pq.read_table(buffer)["a"].to_pylist(), received, len(open("/proc/self/statm").read()) > 0]
"""
    assert in_decoder(code) == [[1], [1, 2], [1], True]


def test_a_decoder_has_one_thread_when_it_enters(tmp_path):
    """The kernel restricts the calling thread, and those that it starts later."""
    path = tmp_path / "code.mp4"
    path.write_text("import os; answer = len(os.listdir('/proc/self/task'))")
    with Decoders(num_decoders=1, limits=LIMITS, command=OBEDIENT) as decoders:
        assert json.loads(decoders.probe(VideoRef(str(path))).container) == 2  # and the one that sends


def test_without_a_kernel_that_can_it_says_so_and_goes_on(monkeypatch):
    monkeypatch.setattr(sandbox, "_LANDLOCK_CREATE", 1_000)  # no such system call
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "riscv64")
    assert not sandbox._restrict_files(sandbox.ctypes.CDLL(None, use_errno=True))
    assert not sandbox._filter_system_calls(sandbox.ctypes.CDLL(None, use_errno=True))
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    assert sandbox.enter_sandbox() == (False, False)
