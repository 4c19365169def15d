"""One module and several processes: who sees it, who may access it, and whether pressure moves it."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from kmod_harness.errors import ProcessKilled
from kmod_harness.guest.agent.calls import c_path, signal_name
from kmod_harness.guest.agent.protocol import Call, OutUpToResult, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.process import Process

_KPAGEFLAGS = "/proc/kpageflags"
#: include/uapi/linux/kernel-page-flags.h, 6.1
_FLAGS = {
    0: "LOCKED", 1: "ERROR", 2: "REFERENCED", 3: "UPTODATE", 4: "DIRTY", 5: "LRU", 6: "ACTIVE", 7: "SLAB",
    8: "WRITEBACK", 9: "RECLAIM", 10: "BUDDY", 11: "MMAP", 12: "ANON", 13: "SWAPCACHE", 14: "SWAPBACKED",
    15: "COMPOUND_HEAD", 16: "COMPOUND_TAIL", 17: "HUGE", 18: "UNEVICTABLE", 20: "NOPAGE", 21: "KSM",
    22: "THP", 23: "OFFLINE", 24: "ZERO_PAGE", 25: "IDLE", 26: "PGTABLE",
}  # fmt: skip
_PAGE = 4096
#: Processes read in one round trip, and bytes read of each: the answer fits a frame of 1 MiB.
_BATCH, _READ = 100, 4096
#: include/uapi/asm-generic/mman-common.h, since Linux 5.14
_MADV_POPULATE_WRITE = 23
#: A page of a process: present, and its frame number (fs/proc/task_mmu.c, PM_PRESENT, PM_PFRAME_MASK, 6.1)
_PRESENT, _FRAME = 1 << 63, (1 << 55) - 1


def flag_names(bits: int) -> tuple[str, ...]:
    """Returns the names of a page's flags, by their numbers in /proc/kpageflags.

    >>> flag_names(1 << 5 | 1 << 12)
    ('LRU', 'ANON')
    """
    return tuple(name for bit, name in _FLAGS.items() if bits >> bit & 1)


def page_flags(guest: Guest, physical: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Returns physical address -> flags of these pages, {} on a kernel that does not show them."""
    if not guest.exists(_KPAGEFLAGS):
        return {}
    return {address: _flags_of(guest, address // _PAGE) for address in physical}


def _flags_of(guest: Guest, frame: int) -> tuple[str, ...]:
    with guest.open(_KPAGEFLAGS) as file:
        file.lseek(frame * 8)
        return flag_names(struct.unpack("<Q", file.read(8))[0])


def program_page_flags(guest: Guest) -> tuple[str, ...]:
    """Returns the flags of a page that a process has just written, () where the kernel hides them."""
    process = guest.syscaller
    if not guest.exists(_KPAGEFLAGS) or not guest.exists("/proc/self/pagemap"):
        return ()
    # new pages are added to an LRU list in batches of 15 (PAGEVEC_SIZE): the first of 64 is on it
    with process.memory(64 * _PAGE) as address:
        process.call("madvise", address, 64 * _PAGE, _MADV_POPULATE_WRITE)
        with process.open("/proc/self/pagemap") as file:
            file.lseek(address // _PAGE * 8)
            (entry,) = struct.unpack("<Q", file.read(8))
        return _flags_of(guest, entry & _FRAME) if entry & _PRESENT else ()


def read_in_user_mode(process: Process, address: int) -> str:
    """Has a process read a kernel address in user mode; returns how that ends, in words."""
    try:
        data = process.peek(address, 8)
    except ProcessKilled as killed:
        return f"killed by {signal_name(killed.signal)}"
    return f"it read {data.hex()}"


def apply_memory_pressure(guest: Guest) -> int:
    """Has a process allocate and write half of the free memory, at most 64 MiB, and end; returns the MiB."""
    size = min(_free_kib(guest) << 9, 64 << 20) & -_PAGE
    process = guest.process()
    address = process.allocate(size)
    process.call("madvise", address, size, _MADV_POPULATE_WRITE)
    process.kill()
    return size >> 20


def _free_kib(guest: Guest) -> int:
    for line in guest.read_text("/proc/meminfo").splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1])
    raise ValueError("/proc/meminfo has no MemFree")


def exchange_by_device(guest: Guest, device: str) -> str:
    """Has one process write to the device, another read; returns both in words, "" where it takes none."""
    if not device:
        return ""
    with guest.process() as writer, guest.process() as reader:
        text = f"written by process {writer.pid}".encode()
        try:
            with writer.open(device, os.O_WRONLY) as file:
                file.write(text)
            with reader.open(device) as file:
                got = file.read(len(text))
        except OSError:
            return ""
        return f"process {writer.pid} wrote {text!r} to {device}; process {reader.pid} read {got!r}"


def stack_line(guest: Guest, process: Process) -> str:
    """Returns the line of /proc/PID/maps for the program's stack."""
    maps = guest.read_text(f"/proc/{process.pid}/maps")
    return next((line for line in maps.splitlines() if line.endswith("[stack]")), "")


def maps_within(guest: Guest, start: int, end: int) -> tuple[str, ...]:
    """Returns the lines of all /proc/PID/maps that overlap start..end, each behind its pid."""
    found = []
    for pid, text in _of_each_process(guest, "maps").items():
        for line in text.splitlines():
            low, dash, high = line.split(" ")[0].partition("-")
            if dash and int(low, 16) < end and start < int(high, 16):
                found.append(f"{pid}: {line}")
    return tuple(found)


def kernel_tasks(guest: Guest) -> dict[int, str]:
    """Returns pid -> comm of every task started by the kernel: its threads, and programs it runs.

    Tasks started by user space are left out.
    """
    parents = {}
    for pid, text in _of_each_process(guest, "stat").items():
        # the comm stands in parentheses and may hold any byte (proc(5))
        comm = text[text.find("(") + 1 : text.rfind(")")]
        parents[pid] = (comm, int(text[text.rfind(")") + 1 :].split()[1]))
    kernel = {2}
    while more := {pid for pid, (_, parent) in parents.items() if parent in kernel} - kernel:
        kernel |= more
    return {pid: parents[pid][0] for pid in sorted(kernel) if pid in parents}


def _of_each_process(guest: Guest, name: str) -> dict[int, str]:
    """Returns pid -> the first page of /proc/PID/NAME; processes that end meanwhile are left out."""
    process = guest.syscaller
    pids = [int(entry) for entry in process.list_directory("/proc") if entry.isdigit()]
    texts: dict[int, str] = {}
    for at in range(0, len(pids), _BATCH):
        calls: list[Call] = []
        for pid in pids[at : at + _BATCH]:
            calls.append(Call(NUMBERS["openat"], (AT_FDCWD, c_path(f"/proc/{pid}/{name}"), os.O_RDONLY, 0)))
            calls.append(Call(NUMBERS["read"], (ResultOf(len(calls) - 1), OutUpToResult(_READ), _READ)))
            calls.append(Call(NUMBERS["close"], (ResultOf(len(calls) - 2),)))
        results = process.batch(calls)[1::3]
        for pid, result in zip(pids[at : at + _BATCH], results, strict=True):
            if not result.errno:
                texts[pid] = result.buffers[0].decode(errors="replace")
    return texts
