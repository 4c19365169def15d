"""The kernel's checks on admission: version magic, taint, signatures, modprobe and modaliases."""

from __future__ import annotations

import contextlib
import re

from kmod_harness.build.kernel.kconfig import parse_config
from kmod_harness.explain.observe import crafted_modules
from kmod_harness.explain.observe.running_kernel import RunningKernel
from kmod_harness.explain.observed.admission import Admission
from kmod_harness.explain.observed.measures import Attempt
from kmod_harness.explain.probes.attempts import delete_module, finit_module
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.machine.memory.guest_memory import GuestMemory

#: Bytes read of `vermagic`, which ends with a NUL byte: more than any has.
_LONGEST_VERMAGIC = 256
_BUSES = "/sys/bus"
#: A few devices suffice as examples; those of these buses have the richest modaliases.
_MAX_MODALIASES = 3
_FIRST_BUSES = ("virtio", "pci", "usb")


def other_release(guest: Guest, file: KernelModule) -> Attempt | None:
    """Attempts to load the file with another release in its vermagic; unloads what the kernel takes."""
    digit = re.match(r"\d+\.\d+\.\d*(\d)", file.release)
    if digit is None:
        return None
    at = digit.start(1)
    changed = f"{file.release[:at]}{(int(digit[1]) + 1) % 10}{file.release[at + 1 :]}"
    data = crafted_modules.with_bytes_replaced(
        file.data, f"vermagic={file.release}".encode(), f"vermagic={changed}".encode()
    )
    attempt = finit_module(guest, f"the file, built for {changed} by its own words", data)
    if attempt.worked:
        delete_module(guest, "rmmod", file.name)
    return attempt


def taint(guest: Guest, running: RunningKernel) -> int:
    """Returns the kernel's taint flags, from its memory; from /proc/sys/kernel where no symbol gives them."""
    address = running.symbols.addresses.get("tainted_mask")
    if address is None:
        return int(guest.read_text("/proc/sys/kernel/tainted"))
    with GuestMemory(guest.machine) as memory:
        return int.from_bytes(memory.read_virtual(address, 8), "little")


def module_taint(guest: Guest, name: str) -> str:
    """Returns the taint letters that sysfs shows for a loaded module."""
    return _text(guest, f"/sys/module/{name}/taint")


def observe_admission(
    guest: Guest, running: RunningKernel, attempt: Attempt | None, taints: tuple[int, int], letters: str
) -> Admission:
    """Returns the observations; called when the module is unloaded.

    guest: the guest
    running: its kernel
    attempt: result of `other_release`
    taints: taint flags before the first attempt, and after the first load
    letters: result of `module_taint`
    """
    config = running.kernel.config
    return Admission(
        other_release=attempt,
        kernel_vermagic=_kernel_vermagic(guest, running),
        taint_before=taints[0],
        taint_loaded=taints[1],
        taint_after=taint(guest, running),
        module_taint=letters,
        checks_signatures=parse_config(config.read_text()).get("MODULE_SIG") == "y" if config else None,
        enforces_signatures=_text(guest, "/sys/module/module/parameters/sig_enforce"),
        modprobe=_text(guest, "/proc/sys/kernel/modprobe"),
        modaliases=_modaliases(guest),
    )


def _kernel_vermagic(guest: Guest, running: RunningKernel) -> str:
    address = running.symbols.addresses.get("vermagic")
    if address is None:
        return ""
    with GuestMemory(guest.machine) as memory:
        return memory.read_virtual(address, _LONGEST_VERMAGIC).split(b"\0")[0].decode(errors="replace")


def _modaliases(guest: Guest) -> tuple[tuple[str, str], ...]:
    found = []
    buses = guest.syscaller.list_directory(_BUSES) if guest.exists(_BUSES) else ()
    for bus in sorted(
        buses, key=lambda name: (_FIRST_BUSES.index(name) if name in _FIRST_BUSES else 9, name)
    ):
        devices = f"{_BUSES}/{bus}/devices"
        for device in sorted(guest.syscaller.list_directory(devices)) if guest.exists(devices) else ():
            path = f"{devices}/{device}/modalias"
            alias = _text(guest, path) if guest.exists(path) else ""
            if alias:
                found.append((path, alias))
    return tuple(found[:_MAX_MODALIASES])


def _text(guest: Guest, path: str) -> str:
    with contextlib.suppress(OSError):
        return guest.read_text(path).strip()
    return ""
