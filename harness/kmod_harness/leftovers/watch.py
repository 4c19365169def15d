"""The watch over a guest's modules: what was there before a load, what is left after the unload."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from kmod_harness.errors import CheckFailed, KmodHarnessError, MachineFailure, ProcessKilled
from kmod_harness.leftovers.findings import Finding, told
from kmod_harness.leftovers.former_module import FormerModule
from kmod_harness.leftovers.listed.inventory import Inventory, left_of, made_by_load
from kmod_harness.leftovers.listed.look import look

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kmod_harness.build.kernel.kernel import Kernel
    from kmod_harness.guest.guest import Guest
    from kmod_harness.guest.loaded_module import LoadedModule
    from kmod_harness.leftovers.kernel_data import KernelData
    from kmod_harness.leftovers.pointers import Pointer
    from kmod_harness.leftovers.words import Word

#: What was listed before a load, and what the load added.
Made = tuple[Inventory, Inventory]
#: How the word of QEMU's command line begins that names the saved guest which a machine was restored from.
_RAM = "memory-backend-file,"
#: Seconds that the kernel is given to free what waits for its readers (RCU), before each further look.
_WAITS = (0.01, 0.05, 0.1, 0.2, 0.4)
#: 4 keeps the next one out of the log; 2 frees what caches of names hold, and what waits for RCU in a batch
#: (Documentation/admin-guide/sysctl/vm.rst, fs/drop_caches.c, 6.1).
_DROP_CACHES = "/proc/sys/vm/drop_caches"
_QUIET, _NAMES_AND_BATCHES = b"4", b"2"


class LeftBehind(CheckFailed):
    """A module left something behind in the kernel after its unload."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        names = ", ".join(dict.fromkeys(finding.module for finding in findings))
        super().__init__(f"{names} left something behind after the unload", evidence=told(findings))
        self.findings = tuple(findings)


class LeftoverWatch:
    """Looks at what the modules that were asked for leave behind in one guest; set as the guest's `_watch`.

    listings: what a guest lists that nobody has used since its restore, by its saved guest; filled here
    limits: why something was not looked at, each once
    """

    def __init__(self, guest: Guest, kernel: Kernel, listings: dict[str, Inventory] | None = None) -> None:
        self._listings = {} if listings is None else listings
        self._guest = guest
        self._kernel = kernel
        #: what is known of the kernel; None where its pointers cannot be looked for
        self._data: KernelData | None = None
        self._is_prepared = False
        self._requests = guest._channel.requests
        self._before: Inventory | None = None
        self._made: dict[str, Made] = {}
        self._gone: list[LoadedModule] = []
        self._findings: list[Finding] = []
        #: words that were told; the memory they point to may be another module's by now
        self._told: set[Word] = set()
        self.limits: list[str] = []

    # --- what the guest tells

    def before_load(self) -> None:
        """Is called before a load: what was unloaded until now is judged, since its memory may be reused."""
        if self._gone:
            self._findings += self._judge()
        self._prepare()
        self._before = self._look_before()

    def loaded(self, module: LoadedModule) -> None:
        """Is called when a module was loaded."""
        before, self._before = self._before, None
        if before is not None:
            after = self._look(before)
            if after is not None:
                self._made[module.name] = (before, made_by_load(before, after))

    def unloaded(self, module: LoadedModule) -> None:
        """Is called when a module is gone."""
        if module._is_given:
            self._gone.append(module)
        else:
            self._made.pop(module.name, None)

    def take_findings(self) -> list[Finding]:
        """Returns what was found since the last call; what was unloaded until now is judged."""
        found, self._findings = self._findings, []
        if self._gone and not self._guest.machine.watch.has_ended:
            found += self._judge()
        return found

    def _prepare(self) -> None:
        """Learns the kernel's structures, which takes a second, once for each kernel."""
        if self._is_prepared:
            return
        self._is_prepared = True
        from kmod_harness.leftovers.kernel_data import kernel_data  # lazy

        try:
            self._data = kernel_data(self._guest, self._kernel, self._slide)
        except (KmodHarnessError, OSError) as error:
            self._guest.machine.watch.raise_if_ended()
            self._limit_pointers(error)

    def _look_before(self) -> Inventory | None:
        """Returns what is listed now; of a guest that nobody has used since its restore it is known."""
        source = next((word for word in self._guest.machine.argv if word.startswith(_RAM)), "")
        if not self._guest.was_restored or self._guest._channel.requests != self._requests:
            return self._look(None)
        if source not in self._listings:
            found = self._look(None)
            if found is None:
                return None
            self._listings[source] = found
        return self._listings[source]

    # --- the judgement

    def _judge(self) -> list[Finding]:
        gone, self._gone = self._gone, []
        former = [FormerModule(module.file, module.sections) for module in gone]
        # pointers first: some kernels oops when a list is read
        pointers = self._pointers(former)
        made = {module.name: self._made.pop(module.name, None) for module in gone}
        listed = self._listed({name: one for name, one in made.items() if one})
        told = self._described(pointers, {finding.module for finding in listed})
        return [*told, *listed, *self._lost_files(former), *self._lost_workqueues(former)]

    def _described(self, pointers: Sequence[Pointer], listed: Collection[str]) -> list[Finding]:
        """Returns the findings; a pointer that may be an old value counts only where a name was left too."""
        if not pointers:
            return []
        from kmod_harness.leftovers.described import describe  # lazy: few modules leave something

        linked = {pointer.module.name for pointer in pointers if pointer.is_linked}.union(listed)
        for finding in describe([one for one in pointers if one.module.name not in linked]):
            self._limit(f"{finding}: perhaps an old value, which does not count")
        return describe([one for one in pointers if one.module.name in linked])

    def _listed(self, made: Mapping[str, Made]) -> list[Finding]:
        """Returns what is listed still of what the loads made."""
        if not made:
            return []
        threads = {pid: name for both in made.values() for one in both for pid, name in one.threads.items()}
        names = frozenset().union(*(before.names for before, _ in made.values()))
        try:
            now = self._look(Inventory(names, threads))
        except ProcessKilled as killed:
            what = f"reading what the kernel lists killed the process that read: {killed.message}"
            return [Finding(", ".join(made), what, "", "/proc")]
        if now is None:
            return []
        return [
            Finding(name, what, "", where)
            for name, (before, after) in made.items()
            for what, where in left_of(after, before, now)
        ]

    def _lost_files(self, gone: Sequence[FormerModule]) -> list[Finding]:
        """Returns a finding where a module that opens files lost one."""
        from kmod_harness.leftovers.lost_files import find_lost_files, may_lose_files  # lazy

        openers = [module.name for module in gone if may_lose_files(module.file)]
        if not openers or self._data is None:
            return []
        lost: set[int] | None = None
        try:
            for seconds in (0.0, *_WAITS):
                self._guest.machine.settle(seconds)
                now = {file.start for file in find_lost_files(self._guest.machine, self._data)}
                lost = now if lost is None else lost & now
                if not lost:
                    return []
        except (KmodHarnessError, OSError) as error:
            self._guest.machine.watch.raise_if_ended()
            self._limit(f"open files were not looked for: {getattr(error, 'message', error)}")
            return []
        what = (
            f"{len(lost or ())} open file{'s' if len(lost or ()) > 1 else ''} that nothing refers to any more"
        )
        return [Finding(", ".join(openers), what, "", "filp")]

    def _lost_workqueues(self, gone: Sequence[FormerModule]) -> list[Finding]:
        """Returns a finding for each workqueue that a module made and left."""
        from kmod_harness.leftovers.lost_workqueues import find_lost_workqueues, may_lose_workqueues  # lazy

        found: list[Finding] = []
        for module in gone:
            if self._data is None or not may_lose_workqueues(module.file):
                continue
            try:
                names = find_lost_workqueues(self._guest.machine, self._data, module.file)
            except (KmodHarnessError, OSError) as error:
                self._guest.machine.watch.raise_if_ended()
                self._limit(f"workqueues were not looked for: {getattr(error, 'message', error)}")
                break
            found += [
                Finding(module.name, f"the workqueue {name} exists", "", "workqueues") for name in names
            ]
        return found

    def _pointers(self, gone: Sequence[FormerModule]) -> list[Pointer]:
        self._prepare()
        if self._data is None:
            return []
        try:
            found = [one for one in self._find(gone) if one.word not in self._told]
            if found and not any(pointer.is_certain for pointer in found):
                found = self._again(gone, found)
        except (KmodHarnessError, OSError) as error:
            self._guest.machine.watch.raise_if_ended()
            self._data = None
            self._limit_pointers(error)
            return []
        self._told |= {one.word for one in found}
        return found

    def _find(self, gone: Sequence[FormerModule]) -> list[Pointer]:
        from kmod_harness.leftovers.pointers import find_pointers  # lazy

        assert self._data is not None
        inherited = {file.name for file in self._guest._inherited}
        return find_pointers(
            self._guest.machine,
            self._data,
            gone,
            everywhere=any(module.name in inherited for module in gone),
        )

    def _again(self, gone: Sequence[FormerModule], found: list[Pointer]) -> list[Pointer]:
        """Returns what is still there when the kernel had time to free what waits for RCU."""
        first = found
        for seconds in _WAITS:
            try:
                with contextlib.suppress(OSError):
                    for what in _QUIET, _NAMES_AND_BATCHES:
                        self._guest.write_file(_DROP_CACHES, what)
                self._guest.machine.settle(seconds)
                still = {one.word for one in self._find(gone)}
            except MachineFailure:
                # what was left has gone off meanwhile
                return first
            found = [one for one in found if one.word in still]
            if not found:
                return []
        return found

    def _slide(self) -> int:
        from kmod_harness.lifecycle.slide import slide_from_outside  # lazy

        known = self._guest._known_slide
        return known if known is not None else slide_from_outside(self._guest.machine, self._kernel)

    def _look(self, before: Inventory | None) -> Inventory | None:
        try:
            return look(self._guest, before, safely=self._data is not None)
        except OSError as error:
            self._limit(f"what the kernel lists was not compared: {error.strerror}")
            return None

    def _limit_pointers(self, error: Exception) -> None:
        why = getattr(error, "message", error)
        self._limit(f"pointers to what was unloaded were not looked for: {why}")

    def _limit(self, text: str) -> None:
        if text not in self.limits:
            self.limits.append(text)
