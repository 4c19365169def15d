"""What can be done with the harness, what each of it needs, and what stands in its way here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kmod_harness.host.packages import Requirement

#: In place of single checks: the whole group.
ALL = ""


@dataclass(frozen=True)
class Work:
    """needs: group of the package list -> its checks, blanks between, or ALL.

    parts: what has to be made or downloaded once. stands_on: other works that it needs all of.
    """

    name: str
    needs: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    stands_on: tuple[str, ...] = ()


_COMPILER = "gcc ld file:/usr/include/stdio.h"
_KBUILD = f"make {_COMPILER} library:libelf.so.1"
_APT = "apt-get dpkg-deb"

WORKS = (
    Work("run", {"run": "qemu-system-x86_64"}, ("kernel", "guest agent", "root file system")),
    Work("verify", stands_on=("run",)),
    Work("explain", {"explain": ALL}, stands_on=("run",)),
    Work("debug", {"explain": "gdb"}, stands_on=("run",)),
    Work("disks", {"run": "qemu-img"}, stands_on=("run",)),
    Work("modules", {"run": _KBUILD}, ("headers",)),
    Work("kernel", {"run": f"{_KBUILD} {_APT}", "kernel": ALL}, ("source",)),
    Work("debian", {"run": f"{_KBUILD} {_APT}", "debian": ALL}, ("Debian's kernel",)),
    Work("buildroot", {"run": f"make {_COMPILER} {_APT}", "buildroot": ALL}),
)

#: In a checkout only: make's targets.
CHECKOUT_WORKS = (
    Work("test", {"run": ALL, "test": ALL}, stands_on=("run", "modules", "kernel")),
    Work("lint", {"run": ALL, "lint": ALL}, stands_on=("kernel",)),
    Work("fresh", {"fresh": ALL}),
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


def with_what_they_stand_on(names: Sequence[str], works: Sequence[Work]) -> tuple[Work, ...]:
    """Returns the works of these names and all below them, each once, in the order of `works`."""
    wanted = set(names)
    for work in reversed(works):  # one stands on those before it
        if work.name in wanted:
            wanted |= set(work.stands_on)
    return tuple(work for work in works if work.name in wanted)


def needed(
    work: Work, listed: Sequence[Requirement], missing_parts: Collection[str]
) -> tuple[Requirement, ...]:
    """Returns what a work needs installed: its own, and what its missing parts are made with."""
    wanted = [work.needs, *(_MADE_WITH.get(part, {}) for part in work.parts if part in missing_parts)]
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
