"""What a decoder process gives up before it sees a byte from outside. Linux; elsewhere, nothing beyond its limits.

Two mechanisms of the kernel, neither of which needs privileges, and neither of which can be taken back:

- Landlock (Linux 5.13, https://docs.kernel.org/userspace-api/landlock.html): of all files, those of Python and
  its libraries may be read, and nothing may be written, made, removed or executed.
- A seccomp filter (https://docs.kernel.org/userspace-api/seccomp_filter.html): no sockets, no other programs or
  processes, no signals to others, nothing opened for writing. It names what is forbidden, and not what is
  allowed, since libraries and C libraries differ in what they call.

Descriptors that are open, or passed later, stay usable. `python -m mmeg_model.media.sandbox` prints what holds here.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Final, NamedTuple

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_KILL_PROCESS, _ERRNO, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # struct sock_filter.code
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data
_X32_NUMBERS: Final = 0x4000_0000
_CLONE_THREAD: Final = 0x0001_0000
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20000000  # O_TMPFILE


class _Architecture(NamedTuple):
    audit_number: int
    """AUDIT_ARCH_…, of linux/audit.h."""
    forbidden: tuple[int, ...]
    """System calls, by their numbers of asm/unistd.h."""
    open: int | None
    openat: int
    openat2: int
    clone: int
    clone3: int
    own_process_only: tuple[int, ...]
    """kill and tgkill."""
    prlimit64: int


_SINCE_424: Final = (
    # pidfd_send_signal, io_uring_setup, _enter, _register, open_tree, move_mount, fsopen, fsconfig, fsmount
    *(424, 425, 426, 427, 428, 429, 430, 431, 432),
    # pidfd_open, pidfd_getfd, process_madvise, mount_setattr
    *(434, 438, 440, 442),
)
_X86_64: Final = _Architecture(
    audit_number=0xC000_003E,
    forbidden=(
        # socket, connect, accept, bind, listen, socketpair, accept4
        *(41, 42, 43, 49, 50, 53, 288),
        # fork, vfork, execve, execveat, ptrace, process_vm_readv, process_vm_writev, kcmp
        *(57, 58, 59, 322, 101, 310, 311, 312),
        # tkill, rt_sigqueueinfo, rt_tgsigqueueinfo
        *(200, 129, 297),
        # truncate, rename, mkdir, rmdir, creat, link, unlink, symlink, chmod, fchmod, chown, fchown, lchown
        *(76, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94),
        # mknod, utime, utimes, mkdirat, mknodat, fchownat, futimesat, unlinkat, renameat, linkat, symlinkat
        *(133, 132, 235, 258, 259, 260, 261, 263, 264, 265, 266),
        # fchmodat, utimensat, renameat2, setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr
        *(268, 280, 316, 188, 189, 190, 197, 198, 199),
        # setuid, setgid, setreuid, setregid, setgroups, setresuid, setresgid, setfsuid, setfsgid, capset
        *(105, 106, 113, 114, 116, 117, 119, 122, 123, 126),
        # pivot_root, chroot, mount, umount2, unshare, setns, name_to_handle_at, open_by_handle_at
        *(155, 161, 165, 166, 272, 308, 303, 304),
        # setrlimit, acct, reboot, init_module, delete_module, kexec_load, add_key, request_key, keyctl
        *(160, 163, 169, 175, 176, 246, 248, 249, 250),
        # perf_event_open, fanotify_init, finit_module, kexec_file_load, bpf, userfaultfd
        *(298, 300, 313, 320, 321, 323),
        *_SINCE_424,
    ),
    open=2,
    openat=257,
    openat2=437,
    clone=56,
    clone3=435,
    own_process_only=(62, 234),
    prlimit64=302,
)
_AARCH64: Final = _Architecture(
    audit_number=0xC000_00B7,
    forbidden=(
        # socket, socketpair, bind, listen, accept, connect, accept4
        *(198, 199, 200, 201, 202, 203, 242),
        # execve, execveat, ptrace, process_vm_readv, process_vm_writev, kcmp
        *(221, 281, 117, 270, 271, 272),
        # tkill, rt_sigqueueinfo, rt_tgsigqueueinfo
        *(130, 138, 240),
        # mknodat, mkdirat, unlinkat, symlinkat, linkat, renameat, truncate, fchmod, fchmodat, fchownat, fchown
        *(33, 34, 35, 36, 37, 38, 45, 52, 53, 54, 55),
        # utimensat, renameat2, setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr
        *(88, 276, 5, 6, 7, 14, 15, 16),
        # setregid, setgid, setreuid, setuid, setresuid, setresgid, setfsuid, setfsgid, setgroups, capset
        *(143, 144, 145, 146, 147, 149, 151, 152, 159, 91),
        # umount2, mount, pivot_root, chroot, unshare, setns, name_to_handle_at, open_by_handle_at
        *(39, 40, 41, 51, 97, 268, 264, 265),
        # setrlimit, acct, reboot, init_module, delete_module, kexec_load, add_key, request_key, keyctl
        *(164, 89, 142, 105, 106, 104, 217, 218, 219),
        # perf_event_open, fanotify_init, finit_module, kexec_file_load, bpf, userfaultfd
        *(241, 262, 273, 294, 280, 282),
        *_SINCE_424,
    ),
    open=None,
    openat=56,
    openat2=437,
    clone=220,
    clone3=435,
    own_process_only=(129, 131),
    prlimit64=261,
)
_ARCHITECTURES: Final = {"x86_64": _X86_64, "aarch64": _AARCH64}

_LANDLOCK_CREATE, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on all architectures
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_LANDLOCK_FS_BITS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights to files a version of Landlock knows; later ones know as many as the last."""
_SYSTEM_LIBRARIES: Final = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"),
    *("/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom", "/proc/self", "/sys/devices/system"),
)


class Sandbox(NamedTuple):
    """What is in force."""

    landlock: bool
    seccomp: bool


def enter_sandbox() -> Sandbox:
    """Give up files, network, other processes and programs, as far as this kernel lets a process do so.

    To be called with one thread only; those that come later inherit it.
    """
    if sys.platform != "linux":
        return Sandbox(landlock=False, seccomp=False)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return Sandbox(landlock=False, seccomp=False)
    return Sandbox(landlock=_restrict_files(libc), seccomp=_filter_system_calls(libc))


def _restrict_files(libc: ctypes.CDLL) -> bool:
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    every_right = (1 << _LANDLOCK_FS_BITS[min(version, max(_LANDLOCK_FS_BITS))]) - 1
    # Later versions also know TCP (to listen, to connect), and abstract sockets and signals of others.
    attributes = struct.pack("=Q", every_right) + bytes([3, *bytes(7)]) * ((version >= 4) + (version >= 6))
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        for path in _readable_paths():
            _allow_reading(libc, ruleset, path)
        return libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _readable_paths() -> Iterator[str]:
    """Python, its packages and what they load, also what is imported only later."""
    yield from _SYSTEM_LIBRARIES
    yield from filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    yield from filter(None, sys.path)
    yield from {sys.prefix, sys.base_prefix} - {"/", "/usr"}
    for package in ("mmeg_model", "numpy", "pyarrow"):  # may be links to elsewhere
        spec = find_spec(package)
        yield from (spec.submodule_search_locations or ()) if spec else ()


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
        libc.syscall(_LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _filter_system_calls(libc: ctypes.CDLL) -> bool:
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        return False
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _program(architecture))
    program = _FilterProgram(len(code) // 8, code)
    return libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0


def _program(calls: _Architecture) -> Iterable[tuple[int, int, int, int]]:
    """Classic BPF: code, instructions to skip if true, to skip if false, operand."""

    def argument(index: int, *, high: bool = False) -> tuple[int, int, int, int]:
        return _LOAD, 0, 0, _ARGUMENTS_AT + 8 * index + 4 * high

    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    unknown = (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)
    allow = (_RETURN, 0, 0, _ALLOW)
    yield _LOAD, 0, 0, _ARCHITECTURE_AT
    yield _IF_EQUAL, 1, 0, calls.audit_number
    yield _RETURN, 0, 0, _KILL_PROCESS
    yield _LOAD, 0, 0, _NUMBER_AT
    yield _IF_AT_LEAST, 0, 1, _X32_NUMBERS
    yield refuse
    for number in calls.forbidden:
        yield from [(_IF_EQUAL, 0, 1, number), refuse]
    # What takes its arguments by a pointer cannot be looked into; callers fall back to the older call.
    for number in (calls.openat2, calls.clone3):
        yield from [(_IF_EQUAL, 0, 1, number), unknown]
    for opening, flags_index in ((calls.open, 1), (calls.openat, 2)):
        if opening is not None:
            yield from [(_IF_EQUAL, 0, 4, opening), argument(flags_index)]
            yield from [(_IF_ANY_BIT, 0, 1, _WRITES), refuse, allow]
    yield from [(_IF_EQUAL, 0, 4, calls.clone), argument(0)]
    yield from [(_IF_ANY_BIT, 1, 0, _CLONE_THREAD), refuse, allow]
    for number in calls.own_process_only:
        yield from [(_IF_EQUAL, 0, 4, number), argument(0)]
        yield from [(_IF_EQUAL, 1, 0, os.getpid()), refuse, allow]
    yield from [(_IF_EQUAL, 0, 6, calls.prlimit64), argument(2), (_IF_EQUAL, 0, 2, 0)]
    yield from [argument(2, high=True), (_IF_EQUAL, 1, 0, 0), refuse, allow]
    yield allow


if __name__ == "__main__":
    sandbox = enter_sandbox()
    for mechanism, is_in_force in sandbox._asdict().items():
        print(f"{mechanism}: {'in force' if is_in_force else 'not available on this machine'}")
