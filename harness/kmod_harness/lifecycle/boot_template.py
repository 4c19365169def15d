"""The template of a freshly booted machine, kept in the cache under a key of everything it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from kmod_harness.build.cache import Cache, CacheUnusable, default_cache, digest_of
from kmod_harness.errors import MachineFailure, QemuDied, StateNotSaved
from kmod_harness.guest.agent.protocol import CHUNK
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.modprobe import ROOT
from kmod_harness.guest.process import Process
from kmod_harness.guest.restore import SavedFacts
from kmod_harness.lifecycle.prepare import Prepared, start_machine
from kmod_harness.lifecycle.saved_guest import (
    SavedGuest,
    SavedGuestDamaged,
    SavedGuestUnusable,
    digest_of_disks,
    obstacle,
    save_disks,
    saved_disks,
)
from kmod_harness.machine.argv import Endpoints, RamFile, qemu_argv
from kmod_harness.machine.migration import StateRefused

_KIND = "template"
#: Changes when templates are made in another way.
_RECIPE = "8"
#: Seconds the kernel may take until its clock has settled (times 4 under emulation).
_SETTLE_SECONDS = 5.0
#: Processes that are forked before the guest is saved: one for insmod, one for a second opener.
_SPARES = 2
#: Directories of the guest that receive modules and files of the host.
_DIRECTORIES = ("/kmod-harness/loaded", "/kmod-harness/pushed", ROOT)
_FIRST_FILE = "/kmod-harness/loaded/first"
_SETTLED = "clocksource: Switched to clocksource tsc"


class NeverSaved(SavedGuestUnusable):
    """The machine can never be saved. The reason is kept under its key, so that it is not tried again."""


def template_of(prepared: Prepared, boot_timeout: float | None = None) -> SavedGuest:
    """Returns the machine's template; boots and saves it where there is none. Raises SavedGuestUnusable."""
    if reason := obstacle(prepared.spec):
        raise SavedGuestUnusable(reason)
    cache = default_cache()
    disk_digest = digest_of_disks(prepared.disks)
    key = _key(prepared, disk_digest)
    refused = cache.pointer(f"no-template-{key}")
    if refused:
        raise SavedGuestUnusable(refused)
    try:
        entry = cache.entry(
            _KIND, key, lambda directory: _make(prepared, directory, disk_digest, boot_timeout)
        )
    except CacheUnusable as error:
        raise SavedGuestUnusable(f"it could not be saved: {error.message}") from error
    except (OSError, QemuDied) as error:
        # on a full disk QEMU dies of SIGBUS in its RAM file; a cold boot needs no such file
        raise SavedGuestUnusable(f"it could not be saved: {error}") from error
    except NeverSaved as reason:
        cache.note(f"no-template-{key}", str(reason))
        raise
    return _open(prepared, disk_digest, cache, key, entry)


def discard(template: SavedGuest) -> None:
    """Removes a template that does not load from the cache; the next restore makes another."""
    _drop(default_cache(), template.directory.name)


def _drop(cache: Cache, key: str) -> bool:
    """Removes a template; returns False where the cache is read-only, so that each boot is cold."""
    try:
        return cache.remove(_KIND, key)
    except CacheUnusable:
        return False


def _make(
    prepared: Prepared, directory: Path, disk_digest: str, boot_timeout: float | None
) -> dict[str, object]:
    """Boots a guest on a shared RAM file, waits until it has settled, and saves it."""
    ram, state = directory / "ram", directory / "state"
    with start_machine(prepared, ram=RamFile(ram, shared=True)) as machine:
        try:
            guest = Guest(machine, boot_timeout=boot_timeout)
        except MachineFailure as failure:
            failure.console = machine.console.path.read_bytes()
            raise
        process = guest.syscaller
        spares = [Process(machine, guest._channel) for _ in range(_SPARES)]
        for spare in spares:
            # its first call makes its pages private, which takes 0.01 s: not during a test
            spare.call("getpid")
        from kmod_harness.checks.system_map import read_slide  # lazy

        slide = read_slide(guest, prepared.kernel)
        _settle(guest)
        try:
            machine.migration.save_state(state)
        except StateRefused as error:
            raise NeverSaved(error.message) from error
        except StateNotSaved as error:
            raise SavedGuestUnusable(error.message) from error
        from kmod_harness.klog.records import parse_console  # lazy
        from kmod_harness.klog.splats import find_splats  # lazy

        # read after the state was saved: nothing is added to it any more
        log = machine.console.path.read_bytes()
        if find_splats(parse_console(log)):
            raise SavedGuestUnusable("the boot's kernel log holds a splat: such a boot is not kept")
        (directory / "console.log").write_bytes(log)
        save_disks(machine, directory)
        if digest_of_disks(prepared.disks) != disk_digest:
            raise SavedGuestUnusable("the file of a disk was changed while it booted")
    return {
        "process": [process.number, process.pid],
        "slide": slide,
        "spares": [[spare.number, spare.pid] for spare in spares],
        "ram": _fingerprint(ram),
        "layers": {layer.name: _fingerprint(layer) for layer in directory.glob("*.qcow2")},
        "state_sha256": hashlib.sha256(state.read_bytes()).hexdigest(),
        "log_sha256": hashlib.sha256((directory / "console.log").read_bytes()).hexdigest(),
    }


def _settle(guest: Guest) -> None:
    """Waits for the last activities of a boot: the change of the clock source, the shell's first prompt."""
    clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    with contextlib.suppress(OSError, MachineFailure):
        # the mark is taken first: an earlier line reports the change to tsc-early
        mark = guest.kernel_log.mark()
        if guest.read_text(clock).strip() == "tsc-early":
            guest.kernel_log.await_text(_SETTLED, since=mark, timeout=_SETTLE_SECONDS)
    with contextlib.suppress(MachineFailure):
        guest.shell.synchronise()
    # brings what the first program needs into the guest's page cache
    with contextlib.suppress(OSError):
        guest.run(["true"])
    for path in _DIRECTORIES:
        guest.make_directories(path)
    # makes the agent allocate the memory through which modules are sent
    guest.write_file(_FIRST_FILE, bytes(CHUNK))
    guest.syscaller.unlink(_FIRST_FILE)
    guest.kernel_log.sync(guest.syscaller)


def _open(prepared: Prepared, disk_digest: str, cache: Cache, key: str, entry: Path) -> SavedGuest:
    """Returns the entry's template if its files match the manifest. Raises SavedGuestUnusable."""
    manifest: dict[str, Any] = dict(cache.manifest(_KIND, key) or {})
    try:
        sound = (
            _fingerprint(entry / "ram") == manifest["ram"]
            and all(_fingerprint(entry / name) == told for name, told in manifest["layers"].items())
            and hashlib.sha256((entry / "state").read_bytes()).hexdigest() == manifest["state_sha256"]
            and hashlib.sha256((entry / "console.log").read_bytes()).hexdigest() == manifest["log_sha256"]
        )
        facts = SavedFacts(
            _process(manifest["process"]),
            (entry / "console.log").read_bytes(),
            spares=tuple(map(_process, manifest["spares"])),
            slide=manifest["slide"],
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        done = "it was discarded" if _drop(cache, key) else "it could not be discarded"
        raise SavedGuestDamaged(f"the saved guest was damaged or changed; {done}")
    return SavedGuest(entry, facts, saved_disks(prepared.disks, entry), disk_digest)


def _process(pair: list[int]) -> tuple[int, int]:
    number, pid = pair
    return int(number), int(pid)


def _fingerprint(ram: Path) -> list[int]:
    """Returns size and time of last change; a hash of the RAM would take longer than the whole restore."""
    status = ram.stat()
    return [status.st_size, status.st_mtime_ns]


def _key(prepared: Prepared, disk_digest: str) -> str:
    """Returns the digest of everything that the saved machine depends on."""
    argv = qemu_argv(
        prepared.qemu,
        prepared.spec,
        prepared.accelerator,
        prepared.kernel.bzimage,
        prepared.initrd,
        Endpoints(0, 0, 0, Path("/")),
        disks=prepared.disks,
    )
    files = [prepared.qemu, str(prepared.kernel.bzimage), str(prepared.initrd), prepared.spec.firmware]
    identities = [_identity(path) for path in files if path]
    parts = [_RECIPE, *argv, *identities, disk_digest, _host_cpu(prepared)]
    return digest_of(*parts)[:20]


def _identity(path: str) -> str:
    status = os.stat(path)
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _host_cpu(prepared: Prepared) -> str:
    """Returns the host's CPU model and features, where the guest sees them (KVM); "" elsewhere."""
    if prepared.accelerator.name != "kvm":
        return ""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("model", "flags", "stepping", "microcode")))
