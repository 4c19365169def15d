"""The names that a kernel lists at one moment, and what of them a module made and left. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: The names of slab caches below /sys/kernel.
_SLABS = "slab/"
#: A name: what it is of (`/proc`, `/sys/class`), and the name below it.
Name = tuple[str, str]


@dataclass(frozen=True)
class Root:
    """A directory whose names are compared.

    path: its path
    depth: levels that are looked at
    skip: name of directories that are not gone into
    is_safe: whether the kernel lists it without following what a module registered
    """

    path: str
    depth: int
    skip: str = ""
    is_safe: bool = True


@dataclass(frozen=True)
class Table:
    """A file of /proc that lists what is registered.

    path: its path
    what: one of its entries in words
    parse: function that returns the names in a line
    is_safe: whether the kernel lists it without following what a module registered
    """

    path: str
    what: str
    parse: Callable[[str], str]
    is_safe: bool = False


#: Where a name can stay that no pointer into the module tells of, since the kernel copied all it was given.
ROOTS = (
    Root("/proc", 1),
    Root("/proc/driver", 2),
    Root("/proc/fs", 2),
    Root("/sys/block", 1),
    Root("/sys/bus", 3),
    Root("/sys/class", 2),
    Root("/sys/fs", 1),
    # tracefs has thousands of names, and is mounted by a look at it
    Root("/sys/kernel", 2, "tracing"),
    Root("/sys/kernel/debug", 2, "tracing"),
    # what these list points into the module, and some kernels do not survive the reading
    Root("/proc/irq", 2, is_safe=False),
    Root("/proc/net", 2, is_safe=False),
    Root("/proc/sys", 5, is_safe=False),
)


def _last(line: str) -> str:
    words = line.split()
    return words[-1] if words else ""


def _device(line: str) -> str:
    words = line.split()
    return " ".join(words) if len(words) == 2 and words[0].isdigit() else ""


def _interrupt(line: str) -> str:
    number, colon, rest = line.partition(":")
    return f"{number.strip()}: {_last(rest)}" if colon and number.strip().isdigit() else ""


def _region(line: str) -> str:
    return line.strip()


def _protocol(line: str) -> str:
    return line.split(" ", 1)[0]


TABLES = (
    Table("/proc/devices", "the device number", _device, is_safe=True),
    Table("/proc/misc", "the misc device", _last),
    Table("/proc/filesystems", "the file system", _last),
    Table("/proc/interrupts", "the handler of interrupt", _interrupt),
    Table("/proc/ioports", "the I/O ports", _region),
    Table("/proc/iomem", "the I/O memory", _region),
    Table("/proc/net/protocols", "the network protocol", _protocol),
)


@dataclass(frozen=True)
class Inventory:
    """What a kernel listed at one moment.

    names: all names
    threads: pid -> name, of kernel threads
    references: module -> how many hold it
    aliases: name of a slab cache -> how many others share its memory, of those that are new
    """

    names: frozenset[Name] = frozenset()
    threads: Mapping[int, str] = field(default_factory=dict)
    references: Mapping[str, int] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)


def names_below(root: Root, listing: bytes) -> set[Name]:
    """Returns the names in the agent's listing of a root; of /proc none that are processes."""
    found = set()
    for line in listing.decode(errors="replace").splitlines():
        name = line[1:]
        if root.path == "/proc" and name.isdigit():
            continue
        found.add((root.path, name))
    return found


def entries_of(table: Table, text: bytes) -> set[Name]:
    """Returns the entries of a table."""
    lines = text.decode(errors="replace").splitlines()
    return {(table.path, entry) for line in lines if (entry := table.parse(line))}


def pids_in(listing: bytes) -> set[int]:
    """Returns the processes in the agent's listing of /proc."""
    return {int(line[1:]) for line in listing.decode(errors="replace").splitlines() if line[1:].isdigit()}


def references_in(modules: bytes) -> dict[str, int]:
    """Returns module -> references, by the text of /proc/modules."""
    found = {}
    for line in modules.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) >= 3 and words[2].isdigit():
            found[words[0]] = int(words[2])
    return found


def new_slabs(names: frozenset[Name], before: Inventory) -> list[str]:
    """Returns the names of slab caches that were not there before."""
    found = [name for root, name in names - before.names if root == "/sys/kernel"]
    return sorted(name[len(_SLABS) :] for name in found if name.startswith(_SLABS))


def made_by_load(before: Inventory, after: Inventory) -> Inventory:
    """Returns what a load made: names, threads, and references that other modules got."""
    return Inventory(
        after.names - before.names,
        {pid: name for pid, name in after.threads.items() if pid not in before.threads},
        {
            module: count - before.references[module]
            for module, count in after.references.items()
            if count > before.references.get(module, count)
        },
        after.aliases,
    )


def left_of(made: Inventory, before: Inventory, now: Inventory) -> list[tuple[str, str]]:
    """Returns (in words, where) of what a load made and what is there still, the shortest names first.

    before: what was there before the load
    now: what is there after the unload
    """
    left = sorted(made.names & now.names, key=lambda name: (len(name[1]), name))
    left = [name for name in left if not _is_unshared(name, made, now)]
    found = [(_words(name), name[0]) for name in _outermost(left)]
    for pid, name in made.threads.items():
        if now.threads.get(pid) == name:
            found.append((f"the kernel thread {name} (pid {pid}) runs still", "/proc"))
    for module, count in made.references.items():
        held = now.references.get(module, 0) - before.references.get(module, 0)
        if held > 0:
            found.append((f"{min(held, count)} references on the module {module}", "/proc/modules"))
    return found


def _is_unshared(name: Name, made: Inventory, now: Inventory) -> bool:
    """Whether the name is that of a slab cache that shared another's memory and was destroyed.

    Its link stays for ever, to something or to nothing (mm/slub.c: sysfs_slab_alias); how many share the
    memory tells.
    """
    if name[0] != "/sys/kernel" or not name[1].startswith(_SLABS):
        return False
    slab = name[1][len(_SLABS) :]
    return now.aliases.get(slab, -1) < made.aliases.get(slab, 0)


def _outermost(names: list[Name]) -> list[Name]:
    """Returns the names without those below another of them, and without a second path to the same."""
    kept: list[Name] = []
    paths: set[str] = set()
    for root, name in names:
        path = f"{root}/{name}"
        parts = path.split("/")
        if not any("/".join(parts[:count]) in paths for count in range(2, len(parts))):
            kept.append((root, name))
        paths.add(path)
    return kept


def _words(name: Name) -> str:
    table = next((table for table in TABLES if table.path == name[0]), None)
    return f"{table.path} lists {table.what} {name[1]}" if table else f"{name[0]}/{name[1]} exists"
