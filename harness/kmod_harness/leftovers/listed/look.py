"""The look around in a guest: all that an inventory needs, in one round trip."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kmod_harness.guest.agent.calls import c_path
from kmod_harness.guest.agent.protocol import NAMES, Call, OutUpToResult, Result, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD
from kmod_harness.leftovers.listed.inventory import (
    ROOTS,
    TABLES,
    Inventory,
    Root,
    entries_of,
    names_below,
    new_slabs,
    pids_in,
    references_in,
)

if TYPE_CHECKING:
    from kmod_harness.guest.guest import Guest

#: Bytes of a root's names, and the most of a table: a page a read.
_NAMES_BYTES, _PAGE, _PAGES = 1 << 18, 4096, 16
_MODULES = "/proc/modules"
#: PF_KTHREAD (include/linux/sched.h, 6.1).
_KTHREAD = 0x00200000


def look(guest: Guest, before: Inventory | None = None, *, safely: bool = False) -> Inventory:
    """Returns what the guest's kernel lists now; a second round trip for what is new since `before`.

    safely: leaves out what a kernel may not survive after a module left something behind

    Raises what a call to the guest raises.
    """
    roots = [root for root in ROOTS if root.is_safe or not safely]
    tables = [table for table in TABLES if table.is_safe or not safely]
    paths = [*(table.path for table in tables), _MODULES]
    calls = [_names_call(root) for root in roots]
    for path in paths:
        calls += _read_calls(path, len(calls))
    results = guest.syscaller.batch(calls)
    listings = [result.buffers[0] if result.errno == 0 else b"" for result in results[: len(roots)]]
    texts = _texts(results[len(roots) :], paths)
    found = [names_below(root, listing) for root, listing in zip(roots, listings, strict=True)]
    found += [entries_of(table, texts[table.path]) for table in tables]
    names = frozenset().union(*found)
    pids = pids_in(listings[[root.path for root in roots].index("/proc")])
    references = references_in(texts[_MODULES])
    if before is None:
        return Inventory(names, dict.fromkeys(pids, ""), references)
    threads = _threads(guest, before.threads, pids)
    return Inventory(names, threads, references, _aliases(guest, new_slabs(names, before)))


def _aliases(guest: Guest, slabs: list[str]) -> dict[str, int]:
    """Returns how many names share the memory of each of these slab caches."""
    if not slabs:
        return {}
    paths = [f"/sys/kernel/slab/{name}/aliases" for name in slabs]
    texts = _read(guest, paths).values()
    return {name: int(text) for name, text in zip(slabs, texts, strict=True) if text.strip().isdigit()}


def _read(guest: Guest, paths: list[str]) -> dict[str, bytes]:
    """Returns path -> the first page of a file."""
    calls: list[Call] = []
    for path in paths:
        calls += _read_calls(path, len(calls), pages=1)
    return _texts(guest.syscaller.batch(calls), paths, pages=1)


def _threads(guest: Guest, known: Mapping[int, str], pids: Iterable[int]) -> dict[int, str]:
    """Returns the processes that were known, and the new ones that are kernel threads, with their names.

    Workers come and go by themselves; a rescuer, kworker/R-NAME, is a workqueue's for its whole life.
    """
    new = sorted(set(pids) - set(known))
    found = {pid: known[pid] for pid in pids if pid in known}
    texts = _read(guest, [f"/proc/{pid}/stat" for pid in new]) if new else {}
    for pid, text in zip(new, texts.values(), strict=True):
        name = kernel_thread(text)
        if name and (not name.startswith("kworker/") or name.startswith("kworker/R-")):
            found[pid] = name
    return found


def kernel_thread(stat: bytes) -> str:
    """Returns the name of a kernel thread by its /proc/PID/stat (proc(5)), "" for a program's.

    >>> kernel_thread(b"61 (my thread) S 2 0 0 0 -1 2129984 0 0")
    'my thread'
    """
    start, end = stat.find(b"("), stat.rfind(b")")
    fields = stat[end + 1 :].split()
    if start < 0 or len(fields) < 7 or not fields[6].isdigit() or not int(fields[6]) & _KTHREAD:
        return ""
    return stat[start + 1 : end].decode(errors="replace")


def _names_call(root: Root) -> Call:
    buffer = OutUpToResult(_NAMES_BYTES)
    return Call(NAMES, (c_path(root.path), root.depth, c_path(root.skip), buffer))


def _read_calls(path: str, first: int, pages: int = _PAGES) -> list[Call]:
    opened = ResultOf(first)
    return [
        Call(NUMBERS["openat"], (AT_FDCWD, c_path(path), os.O_RDONLY, 0)),
        *[Call(NUMBERS["read"], (opened, OutUpToResult(_PAGE), _PAGE))] * pages,
        Call(NUMBERS["close"], (opened,)),
    ]


def _texts(results: list[Result], paths: list[str], pages: int = _PAGES) -> dict[str, bytes]:
    """Returns path -> text; "" for a file that is not there."""
    found = {}
    for at, path in enumerate(paths):
        part = results[at * (pages + 2) : (at + 1) * (pages + 2)]
        reads = part[1:-1] if part[0].errno == 0 else []
        found[path] = b"".join(read.buffers[0] for read in reads if read.errno == 0)
    return found
