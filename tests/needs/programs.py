"""Programs that a test starts without saying that it needs them.

A machine of a developer has them all, so that nobody would notice: each start of a program by a test's own
process is looked at (Python's audit event subprocess.Popen).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

#: What Debian's Essential packages bring, and apt; what the harness itself starts for every guest.
_ESSENTIAL = "apt-cache apt-get bash cat cp dpkg-deb dpkg-query env false grep sh sleep tar true unshare"
_HARNESS = "as gcc ld make qemu-img qemu-system-x86_64"
ALWAYS_THERE = frozenset(f"{_ESSENTIAL} {_HARNESS}".split())
#: Where a need's name is not the program's.
_NEED_OF = {
    "debugfs": "mke2fs",
    "readelf": "binutils",
    "strip": "binutils",
    "addr2line": "binutils",
    "objcopy": "binutils",
}
_SYSTEM = ("/usr/", "/bin/", "/sbin/")


class Undeclared(Exception):
    """A test has started a program of the machine's that it does not say it needs."""


def undeclared(program: str, path: str | None, declared: frozenset[str]) -> str:
    """Returns what a test has to declare before it starts the program; "" when nothing.

    A program of the test's own (a fake, what it has compiled) and one that is nowhere need no word.
    """
    found = shutil.which(program, path=path)
    if found is None or not found.startswith(_SYSTEM) or Path(found).name.startswith("python"):
        return ""
    name = Path(found).name
    need = _NEED_OF.get(name, name)
    return "" if name in ALWAYS_THERE or need in declared else need


def watch(declared: Callable[[], frozenset[str] | None]) -> Callable[[str, tuple[object, ...]], None]:
    """Returns an audit hook (sys.addaudithook); `declared` gives what the test under way needs, None between.

    The hook raises Undeclared where the program would be started.
    """

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event != "subprocess.Popen":
            return
        names = declared()
        if names is None:
            return
        executable, _, _, environment = arguments
        path = environment.get("PATH") if isinstance(environment, Mapping) else None
        need = undeclared(str(executable), path, names)
        if need:
            raise Undeclared(f"{executable} is started, so the test needs @pytest.mark.needs({need!r})")

    return hook
