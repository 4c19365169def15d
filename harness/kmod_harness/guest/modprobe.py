"""The files that modprobe and request_module read in a guest: /lib/modules/RELEASE.

The files are those of the loads, by links; the lists grow with them. A directory that the image brings itself
is left as it is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from kmod_harness.guest.agent.calls import c_path
from kmod_harness.guest.agent.protocol import Call, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD
from kmod_harness.guest.loaded_module import DIRECTORY
from kmod_harness.kmod.loading.depmod_files import format_builtin, softdeps_of
from kmod_harness.kmod.loading.modprobe_lists import MARK, Listed, modprobe_lists
from kmod_harness.kmod.loading.names import plain
from kmod_harness.kmod.loading.own_modules import OwnModules
from kmod_harness.kmod.loading.plan import Load

if TYPE_CHECKING:
    from kmod_harness.guest.process import Process
    from kmod_harness.kmod.elf.module import KernelModule

ROOT = "/lib/modules"
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class ModprobeDirectory:
    """/lib/modules/RELEASE of a guest; made when the first module is listed.

    inherited: what the checkpoint that the guest comes from had loaded; it is in the lists
    has_own: True where the kernel's own modules lie there from the boot on
    """

    def __init__(self, inherited: Iterable[KernelModule] = (), *, has_own: bool = False) -> None:
        self._has_own = has_own
        self._inherited = [Load(module, needs=tuple(map(plain, module.depends))) for module in inherited]
        self._listed: dict[str, Listed] = {}
        self._is_ours: bool | None = None

    def add(self, process: Process, own: OwnModules | None, loads: Iterable[Load]) -> None:
        """Lists modules that lie in the guest as they were loaded. Raises OSError, and what ends the guest.

        own: the kernel's own modules, None for a kernel of which nothing is known: nothing is listed then
        """
        loads = list(loads)
        if own is None:
            return
        # what is in the lists already: others may need it
        known = [*self._inherited, *(load for load in loads if self._is_own(load, own))]
        self._inherited.clear()
        self._listed |= {plain(load.module.name): self._listed_as(load, own) for load in known}
        new = {
            name: listed
            for load in loads
            if self._listed.get(name := plain(load.module.name)) != (listed := self._listed_as(load, own))
        }
        if not new or self._is_ours is False:
            return
        self._listed |= new
        directory = f"{ROOT}/{own.kernel}"
        if self._is_ours is None:
            self._is_ours = self._begin(process, directory, new, own.built_in)
        else:
            process.batch(self._calls(directory, new))

    def _is_own(self, load: Load, own: OwnModules) -> bool:
        """Returns whether a module lies where it lay when the guest booted."""
        return self._has_own and own.has(load.module)

    def _listed_as(self, load: Load, own: OwnModules) -> Listed:
        module = load.module
        if self._is_own(load, own):
            return Listed(own.file_in_guest(plain(module.name)), load.needs)
        return Listed(f"{module.name}.ko", load.needs, module.aliases, softdeps_of(module.modinfo))

    def _begin(
        self, process: Process, directory: str, new: Collection[str], built_in: Collection[str]
    ) -> bool:
        """Makes the directory with the first modules; returns False where the image has one of its own."""
        mark = f"{directory}/{MARK}"
        begin = [
            Call(NUMBERS["mkdirat"], (AT_FDCWD, c_path(directory), 0o755)),
            Call(NUMBERS["openat"], (AT_FDCWD, c_path(mark), _APPEND, 0o644)),
            Call(NUMBERS["close"], (ResultOf(1),)),
        ]
        begin += _appending(f"{directory}/modules.builtin", format_builtin(built_in).encode(), len(begin))
        calls = [*begin, *self._calls(directory, new, after=len(begin))]
        (made, *_) = process.batch(calls, stop_on_error=True)
        if made.errno == errno.ENOENT:
            process.make_directories([os.path.dirname(ROOT), ROOT])
            (made, *_) = process.batch(calls, stop_on_error=True)
        if made.errno == errno.EEXIST and process.exists(mark):
            process.batch(self._calls(directory, new))
            return True
        # else the image's own, or a root file system that cannot be written
        return made.errno == 0

    def _calls(self, directory: str, new: Collection[str], after: int = 0) -> list[Call]:
        """Returns the calls that list modules, behind `after` others of their batch."""
        calls = [_link(self._listed[name].file, directory) for name in new]
        for file, text in modprobe_lists(self._listed, new).items():
            if text:
                calls += _appending(f"{directory}/{file}", text.encode(), after + len(calls))
        return calls


def _link(file: str, directory: str) -> Call:
    return Call(NUMBERS["symlink"], (c_path(f"{DIRECTORY}/{file}"), c_path(f"{directory}/{file}")))


def _appending(path: str, data: bytes, number: int) -> list[Call]:
    """Returns the calls that append to a file; `number` is that of the first in its batch."""
    opened = ResultOf(number)
    return [
        Call(NUMBERS["openat"], (AT_FDCWD, c_path(path), _APPEND, 0o644)),
        Call(NUMBERS["write"], (opened, data, len(data))),
        Call(NUMBERS["close"], (opened,)),
    ]
