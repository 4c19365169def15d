"""Boot once: the template of a freshly booted machine, kept in the cache by what went into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from .build.cache import Cache, default_cache, digest_of
from .errors import MachineFailure, QemuDied
from .guest import Guest, Process
from .guest.restore import EarlierLife
from .klog import find_splats, parse_console
from .machine import RamFile, StateNotSaved, StateRefused
from .machine.argv import Endpoints, qemu_argv
from .start import Prepared, start_machine
from .template import Template, TemplateDamaged, TemplateUnusable

_KIND = "template"
#: Changes when templates are made in another way.
_RECIPE = "3"
#: Seconds the kernel may take until its clock has settled (times 4 under emulation).
_SETTLE_SECONDS = 5.0
#: Processes that a test may take without a fork: insmod's, and a second opener's.
_SPARES = 2
_SETTLED = "clocksource: Switched to clocksource tsc"


class NeverSaved(TemplateUnusable):
    """The same machine would meet the same obstacle each time: remembered with its key."""


def template_of(prepared: Prepared, boot_timeout: float | None = None) -> Template:
    """Returns the machine's template, booted and saved if it is new. Raises TemplateUnusable."""
    if prepared.spec.qemu_args:
        raise TemplateUnusable("--qemu-arg may add what cannot be shared between restored guests")
    strangers = [device for device in prepared.spec.devices if not device.startswith("virtio-")]
    if strangers:
        # QEMU refuses some devices it cannot save; others, such as edu, come back silently reset
        raise TemplateUnusable(f"QEMU may not save the device {strangers[0]}")
    cache = default_cache()
    key = _key(prepared)
    refused = cache.pointer(f"no-template-{key}")
    if refused:
        raise TemplateUnusable(refused)
    try:
        entry = cache.entry(_KIND, key, lambda directory: _make(prepared, directory, boot_timeout))
    except (OSError, QemuDied) as error:
        # a full disk kills QEMU by SIGBUS in its RAM file; a cold boot needs no such file
        raise TemplateUnusable(f"it could not be saved: {error}") from error
    except NeverSaved as reason:
        cache.point(f"no-template-{key}", str(reason))
        raise
    return _open(cache, key, entry)


def discard(template: Template) -> None:
    """Removes a template that did not load from the cache; the next one is made anew."""
    default_cache().remove(_KIND, template.directory.name)


def _make(prepared: Prepared, directory: Path, boot_timeout: float | None) -> dict[str, object]:
    """Boots a guest on a shared RAM file, waits until it has settled, and saves it."""
    ram, state = directory / "ram", directory / "state"
    with start_machine(prepared, ram=RamFile(ram, shared=True)) as machine:
        try:
            guest = Guest(machine, boot_timeout=boot_timeout)
        except MachineFailure as failure:
            failure.console = machine.console.path.read_bytes()
            raise
        process = guest.syscaller
        spares = [Process(machine, guest.channel) for _ in range(_SPARES)]
        _settle(guest)
        try:
            machine.migration.save_state(state)
        except StateRefused as error:
            raise NeverSaved(error.message) from error
        except StateNotSaved as error:
            raise TemplateUnusable(error.message) from error
        # read when nothing can be added any more
        log = machine.console.path.read_bytes()
        if find_splats(parse_console(log)):
            raise TemplateUnusable("the boot's kernel log holds a splat: such a boot is not kept")
        (directory / "console.log").write_bytes(log)
    return {
        "process": [process.number, process.pid],
        "spares": [[spare.number, spare.pid] for spare in spares],
        "ram": _fingerprint(ram),
        "state_sha256": hashlib.sha256(state.read_bytes()).hexdigest(),
        "log_sha256": hashlib.sha256((directory / "console.log").read_bytes()).hexdigest(),
    }


def _settle(guest: Guest) -> None:
    """Waits for what every boot still does after init: the clock's change, the shell's first prompt."""
    clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    with contextlib.suppress(OSError, MachineFailure):
        # marked before it is looked at: an earlier line tells of the change to tsc-early
        mark = guest.kernel_log.mark()
        if guest.read_text(clock).strip() == "tsc-early":
            guest.kernel_log.await_text(_SETTLED, since=mark, timeout=_SETTLE_SECONDS)
    with contextlib.suppress(MachineFailure):
        guest.shell.synchronise()
    # what the first program needs lies in the page cache from then on
    with contextlib.suppress(OSError):
        guest.run(["true"])
    guest.kernel_log.sync(guest.syscaller)


def _open(cache: Cache, key: str, entry: Path) -> Template:
    """Returns the entry's template if its files are what the manifest says. Raises TemplateUnusable."""
    manifest: dict[str, Any] = dict(cache.manifest(_KIND, key) or {})
    try:
        sound = (
            _fingerprint(entry / "ram") == manifest["ram"]
            and hashlib.sha256((entry / "state").read_bytes()).hexdigest() == manifest["state_sha256"]
            and hashlib.sha256((entry / "console.log").read_bytes()).hexdigest() == manifest["log_sha256"]
        )
        earlier = EarlierLife(
            _process(manifest["process"]),
            (entry / "console.log").read_bytes(),
            spares=tuple(map(_process, manifest["spares"])),
        )
    except (OSError, KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        cache.remove(_KIND, key)
        raise TemplateDamaged("the saved guest was damaged or changed; it was discarded")
    return Template(entry, earlier)


def _process(pair: list[int]) -> tuple[int, int]:
    number, pid = pair
    return int(number), int(pid)


def _fingerprint(ram: Path) -> list[int]:
    """Size and time of the last change: hashing the RAM would cost each restore more than all else."""
    status = ram.stat()
    return [status.st_size, status.st_mtime_ns]


def _key(prepared: Prepared) -> str:
    """Returns the digest of everything that goes into the saved machine."""
    nowhere = Endpoints(0, 0, 0, Path("/"))
    argv = qemu_argv(
        prepared.qemu, prepared.spec, prepared.accelerator, prepared.kernel.bzimage, prepared.initrd, nowhere
    )
    files = [prepared.qemu, str(prepared.kernel.bzimage), str(prepared.initrd), prepared.spec.firmware]
    parts = [_RECIPE, *argv, *(_identity(path) for path in files if path), _host_cpu(prepared)]
    return digest_of(*parts)[:20]


def _identity(path: str) -> str:
    status = os.stat(path)
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _host_cpu(prepared: Prepared) -> str:
    """Returns what tells host CPUs apart, where the guest sees the host's (KVM)."""
    if prepared.accelerator.name != "kvm":
        return ""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("model", "flags", "stepping", "microcode")))
