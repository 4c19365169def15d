"""Who holds a module that cannot be unloaded: processes with its device open or mapped, modules, mounts."""

from __future__ import annotations

import os
import re
import select
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kmod_harness.guest.agent.calls import c_path
from kmod_harness.guest.agent.protocol import Call, InOut, OutUpToResult, Result, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD, parse_entries

_PIDFD_OPEN = 434  # pidfd_open(2), Linux 5.3
#: Bytes read of a directory, of a text, of a link; the most processes looked at.
_ENTRIES, _TEXT, _NAME = 16384, 16384, 256
_MOST_PROCESSES = 400
#: So many reads are made of each; one of proc gives a page at most.
_READS = 4
#: What a driver's files are: device nodes, and entries of these file systems.
_OF_A_DRIVER = re.compile(r"/(?:dev|sys|proc)/")
#: Files there that say nothing about a module: terminals, memory, the harness's port, a process's own.
_NOBODYS = re.compile(
    r"/dev/(?:null|zero|full|u?random|console|tty\w*|ptmx|pts/\d+|vport\w+|hvc\d+|kmsg|shm/.*)"
    r"(?: \(deleted\))?$"
    r"|/proc/(?:\d+|self|thread-self|mounts)(?:/|$)"
)
_MAPPED = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ +(/\S.*)$", re.MULTILINE)


class Asker(Protocol):
    """A process of the guest that makes the calls."""

    def batch(self, calls: Sequence[Call]) -> list[Result]: ...


@dataclass(frozen=True)
class Holder:
    """A process of the guest, by its number and name, and what it has of a driver: `/dev/x open`."""

    pid: int
    name: str
    has: tuple[str, ...]

    @property
    def is_the_harness_own(self) -> bool:
        """Whether it makes calls for the harness, and ends when it is told to."""
        return self.name == "harness-worker"

    def __str__(self) -> str:
        whose = ", one of this test's own" if self.is_the_harness_own else ""
        return f"process {self.pid} ({self.name}{whose}) has {', '.join(self.has)}"


def holders_of(process: Asker) -> list[Holder]:
    """Returns the processes that have a driver's file open or mapped; which one's, the guest does not tell.

    Raises what ends the guest.
    """
    pids = [int(name) for name in names_in(process, "/proc") if name.isdigit()]
    found = (_holder(process, pid) for pid in pids[:_MOST_PROCESSES])
    return [holder for holder in found if holder.has]


def other_users(process: Asker, module: str) -> list[str]:
    """Returns a line for each module and each mount that uses a module. Raises what ends the guest."""
    used_by = [f"the module {name} uses it" for name in names_in(process, f"/sys/module/{module}/holders")]
    mounts = (line.split() for line in _texts(process, "/proc/mounts")[0].splitlines())
    return [*used_by, *(f"{m[1]} is mounted with it" for m in mounts if len(m) > 2 and m[2] == module)]


def await_end_of(process: Asker, pids: Sequence[int], seconds: float) -> None:
    """Waits until one of these processes has ended, at most so long. Raises what ends the guest."""
    opened = process.batch([Call(_PIDFD_OPEN, (pid, 0)) for pid in pids])
    fds = [result.value for result in opened if not result.errno]
    if len(fds) == len(pids):
        polled = b"".join(struct.pack("<ihh", fd, select.POLLIN, 0) for fd in fds)
        process.batch([Call(NUMBERS["poll"], (InOut(polled), len(fds), int(seconds * 1000)))])
    process.batch([Call(NUMBERS["close"], (fd,)) for fd in fds])


def _holder(process: Asker, pid: int) -> Holder:
    maps, comm = _texts(process, f"/proc/{pid}/maps", f"/proc/{pid}/comm")
    files = [f"/proc/{pid}/fd/{name}" for name in names_in(process, f"/proc/{pid}/fd") if name.isdigit()]
    links = process.batch(
        [Call(NUMBERS["readlink"], (c_path(file), OutUpToResult(_NAME), _NAME)) for file in files]
    )
    opened = [os.fsdecode(link.buffers[0]) for link in links if not link.errno]
    has = [f"{path} open" for path in opened if _may_be_a_drivers(path)]
    has += [f"{path} mapped" for path in _MAPPED.findall(maps) if _may_be_a_drivers(path)]
    return Holder(pid, comm.strip(), tuple(dict.fromkeys(has)))


def _may_be_a_drivers(path: str) -> bool:
    return bool(_OF_A_DRIVER.match(path)) and not _NOBODYS.match(path)


def names_in(process: Asker, directory: str) -> list[str]:
    """Returns the names in a directory, [] where it is gone."""
    listing = _contents(process, [directory], os.O_DIRECTORY, "getdents64", _ENTRIES)[0]
    return [entry.name for entry in parse_entries(listing) if entry.name not in (".", "..")]


def _texts(process: Asker, *paths: str) -> list[str]:
    """Returns what files hold, "" for one that is gone."""
    return [text.decode(errors="replace") for text in _contents(process, paths, 0, "read", _TEXT)]


def _contents(process: Asker, paths: Sequence[str], flags: int, call: str, size: int) -> list[bytes]:
    """Returns what four reads of each give, in one round trip."""
    calls: list[Call] = []
    for path in paths:
        opened = ResultOf(len(calls))
        calls.append(Call(NUMBERS["openat"], (AT_FDCWD, c_path(path), os.O_RDONLY | flags, 0)))
        calls += [Call(NUMBERS[call], (opened, OutUpToResult(size), size))] * _READS
        calls.append(Call(NUMBERS["close"], (opened,)))
    results = process.batch(calls)
    return [
        b"".join(
            read.buffers[0] for read in results[at + 1 : at + 1 + _READS] if not read.errno and read.buffers
        )
        for at in range(0, len(results), _READS + 2)
    ]
