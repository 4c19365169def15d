"""The tasks of the harness, the needs of each, and the obstacles here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kmod_harness.host.packages import Requirement

#: In place of single checks: the whole group.
ALL = ""


@dataclass(frozen=True)
class Task:
    """needs: group of the package list -> its checks, blanks between, or ALL.

    parts: what has to be made or downloaded once. requires: other tasks that it needs all of.
    """

    name: str
    needs: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


_COMPILER = "gcc ld file:/usr/include/stdio.h"
_KBUILD = f"make {_COMPILER} library:libelf.so.1"
_APT = "apt-get dpkg-deb"

TASKS = (
    Task("run", {"run": "qemu-system-x86_64"}, ("kernel", "guest agent", "root file system")),
    Task("verify", requires=("run",)),
    Task("explain", {"explain": ALL}, requires=("run",)),
    Task("debug", {"explain": "gdb"}, requires=("run",)),
    Task("disks", {"run": "qemu-img"}, requires=("run",)),
    Task("modules", {"run": _KBUILD}, ("headers",)),
    Task("kernel", {"run": f"{_KBUILD} {_APT}", "kernel": ALL}, ("source",)),
    Task("debian", {"run": f"{_KBUILD} {_APT}", "debian": ALL}, ("Debian's kernel",)),
    Task("buildroot", {"run": f"make {_COMPILER} {_APT}", "buildroot": ALL}),
)

#: In a checkout only: make's targets.
CHECKOUT_TASKS = (
    Task("test", {"run": ALL, "test": ALL}, requires=("run", "modules", "kernel")),
    Task("lint", {"run": ALL, "lint": ALL}, requires=("kernel",)),
    Task("fresh", {"fresh": ALL}),
)

#: What a part that is not here is made with.
_MADE_WITH = {
    "guest agent": {"run": _COMPILER},
    "root file system": {"run": _APT},
}

#: The make command of a checkout that installs a group.
_TARGETS = {
    "run": "make setup",
    "kernel": "make setup",
    "debian": "make setup KERNEL=debian",
    "buildroot": "make setup ROOTFS=buildroot",
    "explain": "make explain",
    "test": "make test",
    "lint": "make lint",
    "fresh": "make fresh",
}


def with_prerequisites(names: Sequence[str], tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Returns the tasks of these names and all they require, each once, in the order of `tasks`."""
    wanted = set(names)
    for task in reversed(tasks):  # each requires only earlier ones
        if task.name in wanted:
            wanted |= set(task.requires)
    return tuple(task for task in tasks if task.name in wanted)


def needed(
    task: Task, listed: Sequence[Requirement], missing_parts: Collection[str]
) -> tuple[Requirement, ...]:
    """Returns the packages of a task: its own, and those that its missing parts are made with."""
    wanted = [task.needs, *(_MADE_WITH.get(part, {}) for part in task.parts if part in missing_parts)]
    return tuple(
        one
        for one in listed
        if one.check != "-"
        and any(one.group in needs and _named(one, needs[one.group]) for needs in wanted)
    )  # fmt: skip


def _named(one: Requirement, checks: str) -> bool:
    return checks == ALL or one.check in checks.split()


def install_advice(
    missing: Sequence[Requirement], *, apt: bool, checkout: bool
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields what brings the missing, as it fits who reads it: words, and the commands they introduce."""
    if not missing:
        return
    if not apt:
        yield "install them with this distribution's own packages", ()
        return
    packages = dict.fromkeys(one.package for one in missing)
    yield "as root:", (f"apt-get install --no-install-recommends {' '.join(packages)}",)
    if checkout:
        yield "or, in this checkout:", tuple(dict.fromkeys(_TARGETS[one.group] for one in missing))
