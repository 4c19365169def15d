"""Loads that the kernel refuses: the module as an executable, and with a symbol that is not exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kmod_harness.errors import Misuse
from kmod_harness.explain.observe import crafted_modules
from kmod_harness.explain.observe.admission import other_release
from kmod_harness.explain.observe.running_kernel import RunningKernel
from kmod_harness.explain.observed.observations import Attempt
from kmod_harness.explain.probes.attempts import delete_module, finit_module
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.elf.module import KernelModule

#: Usual places of System.map, where klogd, ksymoops and depmod look.
_SYSTEM_MAPS = ("/System.map", "/boot", "/usr/src/linux", "/usr/lib/debug/boot")
#: Kernel functions that no release has exported; the first that the kernel has is asked for.
_UNEXPORTED = ("do_one_initcall", "do_sys_open", "chrdev_open", "do_init_module", "load_module")


@dataclass(frozen=True)
class Refusals:
    """The results of the attempts before the load.

    executable: the module as an executable
    unexported: a kernel function that is not exported
    wanting: the module with that function as an undefined symbol
    dependent: the module that needs this one, alone; None without such a module
    other_release: the file with another release in its vermagic, None for a file that names none
    """

    executable: Attempt
    unexported: str
    wanting: Attempt
    dependent: Attempt | None
    other_release: Attempt | None


def try_refused_loads(
    guest: Guest, running: RunningKernel, file: KernelModule, dependent: KernelModule | None
) -> Refusals:
    """Attempts the loads that the kernel has to refuse while the module is not loaded."""
    name = unexported_symbol(running)
    return Refusals(
        load_as_executable(guest, file),
        name,
        load_with_symbol_renamed(guest, file, name),
        finit_module(guest, f"{dependent.name} without {file.name}", dependent.data) if dependent else None,
        other_release(guest, file),
    )


def load_as_executable(guest: Guest, file: KernelModule) -> Attempt:
    """Attempts to load the file with ET_EXEC in its header; unloads it where the kernel takes it."""
    attempt = finit_module(
        guest,
        "the file with e_type 2, ET_EXEC",
        crafted_modules.with_elf_type(file.data, crafted_modules.ET_EXEC),
    )
    _remove(guest, attempt, file)
    return attempt


def unexported_symbol(running: RunningKernel) -> str:
    """Returns a function that the kernel has and does not export. Raises Misuse for a kernel without one."""
    addresses, exports = running.symbols.addresses, running.symbols.exports
    for name in _UNEXPORTED:
        if name in addresses and name not in exports:
            return name
    raise Misuse(
        "this kernel exports functions that no kernel is known to export", evidence=" ".join(_UNEXPORTED)
    )


def load_with_symbol_renamed(
    guest: Guest, file: KernelModule, name: str, *, instead_of: str = "", parameters: str = ""
) -> Attempt:
    """Attempts to load the module with an undefined symbol renamed; unloads it where the kernel takes it.

    guest: the guest
    file: the module
    name: new name of the symbol
    instead_of: its old name, "" for the first undefined symbol
    parameters: parameters of the module

    A kernel that does not refuse the module may call the function.
    """
    wanted = instead_of or next(symbol.name for symbol in file.undefined if not symbol.weak)
    changed = crafted_modules.with_undefined_symbol_renamed(file.data, wanted, name)
    what = f"the module with {name} in the place of {wanted}"
    attempt = finit_module(guest, what, changed, parameters=parameters)
    _remove(guest, attempt, file)
    return attempt


def _remove(guest: Guest, attempt: Attempt, file: KernelModule) -> None:
    if attempt.worked:
        delete_module(guest, "rmmod", file.name)


def system_map_line(running: RunningKernel, name: str) -> str:
    """Returns the line of System.map, or of the guest's kallsyms, that lists the symbol."""
    path = running.kernel.system_map
    if path is not None and running.symbols.source == "System.map":
        line = next((one for one in path.read_text().splitlines() if one.endswith(f" {name}")), "")
        return f"{path.name}: {line}"
    return f"/proc/kallsyms: {running.symbols.addresses[name]:016x} {name}"


def system_maps(guest: Guest) -> tuple[str, ...]:
    """Returns the paths of System.map files in the guest."""
    found = []
    for place in _SYSTEM_MAPS:
        path = Path(place)
        if path.name == "System.map":
            found += [place] if guest.exists(place) else []
        elif guest.exists(place):
            names = guest.syscaller.list_directory(place)
            found += [f"{place}/{name}" for name in names if name.startswith("System.map")]
    return tuple(found)
