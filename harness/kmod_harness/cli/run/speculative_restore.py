"""An early start: the guest of the last run of a command line is restored while the line is still read.

It is a guess. Once the command line is read, the guest becomes the run's if the run wants exactly this
machine and this template. Otherwise it is killed, and the run goes its ordinary way.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kmod_harness.host.directories import cache_root
from kmod_harness.repository.locate import fingerprint

if TYPE_CHECKING:
    from kmod_harness.guest.guest import Guest
    from kmod_harness.guest.restore import PendingRestore
    from kmod_harness.lifecycle.prepare import Prepared
    from kmod_harness.lifecycle.saved_guest import SavedGuest
    from kmod_harness.machine.argv import Endpoints
    from kmod_harness.machine.fork import ForkedQemu
    from kmod_harness.machine.machine import Machine

#: So many command lines are remembered; one that shares its slot with another displaces it.
_SLOTS = 64
#: What stands in a remembered command line for what each process has of its own.
_FDS = (10**9 + 1, 10**9 + 2, 10**9 + 3)
_DIRECTORY = "/@DIRECTORY@"


class SpeculativeRestore:
    """The guest that was started early, if any; a context manager that ends it unless it was taken."""

    def __init__(self, words: Sequence[str]) -> None:
        # what stands behind `--` runs in the guest, and does not choose it
        self._words = words[: words.index("--") if "--" in words else None]
        self._kept: dict[str, Any] = {}
        self._machine: Machine | None = None
        self._restoring: PendingRestore | None = None

    def __enter__(self) -> SpeculativeRestore:
        from kmod_harness.errors import KmodHarnessError  # lazy

        with contextlib.ExitStack() as undo:
            # a signal may come at any moment
            undo.callback(self.close)
            # whatever is wrong with a guess is no failure: the run goes its ordinary way
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, KmodHarnessError):
                self._start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills what was started and not taken."""
        machine, self._machine = self._machine, None
        if machine is not None:
            machine.close()

    @functools.cached_property
    def _key(self) -> list[str]:
        here = os.getcwd()
        # what the repository says chooses the machine as the words do
        return [here, fingerprint(Path(here)), *self._words]

    @functools.cached_property
    def _slot(self) -> Path:
        """The file for this command line. Raises OSError, Misuse: no directory here, none for the cache."""
        return cache_root() / "speculative-restore" / f"{zlib.crc32(repr(self._key).encode()) % _SLOTS}.json"

    def _start(self) -> None:
        slot = self._slot
        kept = json.loads(slot.read_bytes())
        template = Path(kept["template"])
        # it holds a command line that is executed: nobody else may have written it
        status = os.stat(slot)
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            return
        if kept["key"] != self._key or _identity(template) != kept["identity"]:
            return
        forked = _fork(kept["argv"], template)
        with contextlib.ExitStack() as undo:
            undo.callback(forked.channels.close)
            undo.callback(forked.process.wait)
            undo.callback(forked.process.kill)
            # QEMU starts; from here on there is time for more
            self._machine = _machine(kept, forked)
            undo.pop_all()
        from kmod_harness.guest.restore import PendingRestore, SavedFacts  # lazy

        number, pid = kept["process"]
        self._restoring = PendingRestore(self._machine, SavedFacts((number, pid), b""))
        self._kept = kept

    def take(self, prepared: Prepared, template: SavedGuest) -> Guest | None:
        """Returns the guest, or None when it is of another template or did not come up.

        The caller closes the guest's machine.
        """
        from kmod_harness.errors import KmodHarnessError  # lazy
        from kmod_harness.guest.guest import Guest  # lazy

        machine, restoring = self._machine, self._restoring
        if machine is None or restoring is None or self._kept != self._about(prepared, template):
            return None
        if machine.argv != _argv(prepared, template, machine.ends):
            return None
        with contextlib.suppress(KmodHarnessError):
            guest = Guest(
                machine,
                kernel_facts=prepared.kernel_facts,
                own_modules=lambda: prepared.own_modules,
                saved=template.facts,
                restoring=restoring,
            )
            self._machine = None
            return guest
        return None

    def remember(self, prepared: Prepared, template: SavedGuest) -> None:
        """Remembers the machine and template that this command line led to, for its next run."""
        # a disk has a layer of its own to be made: such a run takes its time
        if prepared.disks:
            return
        from kmod_harness.build.cache import write_atomically  # lazy

        # a working directory that is gone cannot be remembered, a cache that is read-only cannot remember
        with contextlib.suppress(OSError):
            about = self._about(prepared, template)
            if about == self._kept:
                return
            self._slot.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(self._slot, json.dumps(about).encode())

    def _about(self, prepared: Prepared, template: SavedGuest) -> dict[str, Any]:
        from dataclasses import asdict  # lazy

        from kmod_harness.machine.argv import Endpoints  # lazy

        about = {
            "key": self._key,
            "spec": asdict(prepared.spec),
            "kernel": str(prepared.kernel.bzimage),
            "initrd": str(prepared.initrd),
            "accelerator": asdict(prepared.accelerator),
            "qemu": prepared.qemu,
            "argv": _argv(prepared, template, Endpoints(*_FDS, Path(_DIRECTORY))),
            "template": str(template.directory),
            "identity": _identity(template.directory),
            "process": template.facts.process,
        }
        # with lists for tuples, as it comes back
        plain: dict[str, Any] = json.loads(json.dumps(about))
        return plain


def _fork(argv: Sequence[str], template: Path) -> ForkedQemu:
    """Forks QEMU with what was remembered of its command line, before anything large is imported."""
    from kmod_harness.machine.channels import Channels  # lazy
    from kmod_harness.machine.fork import ForkedQemu  # lazy

    channels = Channels(template / "state")
    with contextlib.ExitStack() as undo:
        undo.callback(channels.close)
        places = {_DIRECTORY: str(channels.directory)}
        places |= {f"fd={then}": f"fd={now}" for then, now in zip(_FDS, channels.fds, strict=True)}
        for then, now in places.items():
            argv = [word.replace(then, now) for word in argv]
        forked = ForkedQemu(argv, channels)
        undo.pop_all()
    return forked


def _machine(kept: dict[str, Any], forked: ForkedQemu) -> Machine:
    from kmod_harness.machine.accelerator import Accelerator  # lazy
    from kmod_harness.machine.argv import RamFile  # lazy
    from kmod_harness.machine.machine import Machine  # lazy
    from kmod_harness.spec.spec import Spec  # lazy

    template = Path(kept["template"])
    return Machine(
        Spec(**kept["spec"]),
        Path(kept["kernel"]),
        Path(kept["initrd"]),
        Accelerator(**kept["accelerator"]),
        qemu=kept["qemu"],
        ram=RamFile(template / "ram", shared=False),
        state=template / "state",
        forked=forked,
    )


def _argv(prepared: Prepared, template: SavedGuest, ends: Endpoints) -> list[str]:
    """Returns the command line that a restored guest's QEMU has with these ends of its channels."""
    from kmod_harness.machine.argv import RamFile, qemu_argv  # lazy

    return qemu_argv(
        prepared.qemu,
        prepared.spec,
        prepared.accelerator,
        prepared.kernel.bzimage,
        prepared.initrd,
        ends,
        disks=prepared.disks,
        ram=RamFile(template.ram, shared=False),
        incoming=True,
    )


def _identity(template: Path) -> list[list[int]]:
    """Returns a mark of a template's files, which others made later in their place do not have."""
    statuses = [os.stat(template / name) for name in ("ram", "state")]
    return [[status.st_ino, status.st_size, status.st_mtime_ns] for status in statuses]
