"""System calls that may be refused, made once by a chosen process: the errno and the kernel's log."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

from kmod_harness.errors import ModuleLoadError
from kmod_harness.explain.observed.observations import Attempt
from kmod_harness.guest.agent.calls import c_path
from kmod_harness.guest.agent.protocol import Call, Out
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.process import Process

DIRECTORY = "/kmod-harness/claims"
#: include/uapi/linux/capability.h, 6.1
_CAP_SYS_MODULE = 16
_CAPABILITY_VERSION_3 = 0x20080522
#: include/uapi/linux/prctl.h: capabilities survive the change of uid
_PR_SET_KEEPCAPS = 8
#: arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/linux/sched.h
_UNSHARE, _CLONE_NEWUSER = 272, 0x10000000
UID = 1000


def finit_module(
    guest: Guest, what: str, data: bytes, *, parameters: str = "", process: Process | None = None
) -> Attempt:
    """Calls finit_module(2) once, with any bytes, without the harness's checks."""
    process = process or guest.syscaller
    mark = guest.kernel_log.mark()
    with as_file(guest, data) as path, guest.open(path) as file:
        number = _finit_by(guest, process, file.fd, path, parameters)
    guest.kernel_log.sync(guest.syscaller)
    return Attempt(what, number, guest.kernel_log.text_since(mark))


def _finit_by(guest: Guest, process: Process, fd: int, path: str, parameters: str) -> int:
    if process is guest.syscaller:
        return process.syscall(NUMBERS["finit_module"], fd, parameters.encode() + b"\0", 0).errno
    with process.open(path) as own:
        return process.syscall(NUMBERS["finit_module"], own.fd, parameters.encode() + b"\0", 0).errno


def require_loaded(attempt: Attempt, name: str) -> None:
    """Raises ModuleLoadError, with the kernel's log, unless the load worked."""
    if not attempt.worked:
        raise ModuleLoadError(
            f"loading {name} as {attempt.what} failed: {os.strerror(attempt.errno)}",
            attempt.errno,
            evidence=attempt.log or "the kernel log says nothing about it",
            advice="a module that does not load cannot be examined: try it with `kmod-harness run`",
        )


@contextlib.contextmanager
def as_file(guest: Guest, data: bytes) -> Iterator[str]:
    """Gives the path of a file of the guest with these bytes, which everybody may read."""
    guest.make_directories(DIRECTORY)
    path = f"{DIRECTORY}/module.ko"
    guest.write_file(path, data)
    yield path
    guest.syscaller.unlink(path)


def delete_module(guest: Guest, what: str, name: str, *, process: Process | None = None) -> Attempt:
    """Calls delete_module(2) once, without waiting (O_NONBLOCK)."""
    mark = guest.kernel_log.mark()
    result = (process or guest.syscaller).syscall(NUMBERS["delete_module"], c_path(name), os.O_NONBLOCK)
    guest.kernel_log.sync(guest.syscaller)
    return Attempt(what, result.errno, guest.kernel_log.text_since(mark))


def become_user_with_cap_sys_module(process: Process) -> None:
    """Changes a process of root to uid 1000, with CAP_SYS_MODULE as its only capability."""
    process.call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    process.call("setresgid", UID, UID, UID)
    process.call("setresuid", UID, UID, UID)
    set_capabilities(process, 1 << _CAP_SYS_MODULE)


def drop_cap_sys_module(process: Process) -> None:
    """Drops CAP_SYS_MODULE, and nothing else, from a process of root."""
    set_capabilities(process, get_capabilities(process) & ~(1 << _CAP_SYS_MODULE))


def enter_new_user_namespace(process: Process) -> None:
    """Moves a process into a user namespace of its own, where it has every capability. Raises OSError."""
    result = process.syscall(_UNSHARE, _CLONE_NEWUSER)
    if result.errno:
        raise OSError(result.errno, os.strerror(result.errno), "unshare")


def get_capabilities(process: Process) -> int:
    """Returns the permitted capabilities as bits (capget(2))."""
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    data = process.call("capget", header, Out(24)).buffers[0]
    low, high = struct.unpack_from("<I", data, 4)[0], struct.unpack_from("<I", data, 16)[0]
    return int(low | high << 32)


def set_capabilities(process: Process, bits: int) -> None:
    """Sets permitted and effective capabilities, no inheritable ones (capset(2))."""
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    process.call("capset", header, struct.pack("<IIIIII", low, low, 0, high, high, 0))


def status_of(guest: Guest, process: Process) -> str:
    """Returns the lines of /proc/PID/status with a process's identity and capabilities."""
    wanted = ("Name", "Pid", "Uid", "Gid", "CapPrm", "CapEff")
    text = guest.read_text(f"/proc/{process.pid}/status")
    return "\n".join(line for line in text.splitlines() if line.split(":")[0] in wanted)


def open_call(path: str, flags: int = os.O_RDONLY) -> Call:
    """Returns an open of a file as a call to be begun and awaited separately."""
    return Call(NUMBERS["openat"], (AT_FDCWD, c_path(path), flags, 0))
