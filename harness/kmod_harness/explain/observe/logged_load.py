"""The module loaded, opened and removed while QEMU's execution log watches: who may, and what runs."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass

from kmod_harness.explain.observe.placement import blocks_of
from kmod_harness.explain.observe.running_kernel import loaded_modules
from kmod_harness.explain.observed.function_names import FunctionNames, apart_from, named
from kmod_harness.explain.observed.observations import ExecutedCode, Privilege, Region
from kmod_harness.explain.probes import attempts
from kmod_harness.explain.probes.execution_log import ExecutionLog
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.loaded_module import LoadedModule
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.layout.predict import Layout


@dataclass(frozen=True)
class LoggedLoad:
    """loaded: what ran during the load. device: the device that appeared, "" for none. open_function: the
    module's function that an open of it calls first, "" for none.
    """

    privilege: Privilege
    loaded: ExecutedCode
    device: str
    open_function: str


@dataclass(frozen=True)
class ModulePlaces:
    """A loaded module's places: block -> address, the blocks, names for its functions (init's too)."""

    module: LoadedModule
    bases: Mapping[str, int]
    blocks: tuple[Region, ...]
    names: FunctionNames


def places_of(guest: Guest, file: KernelModule, layout: Layout) -> ModulePlaces:
    """Returns where a loaded module is, by what sysfs shows of its sections; those of init dangle there."""
    module = LoadedModule(guest, file)
    bases = layout.anchors(module.sections)
    return ModulePlaces(module, bases, blocks_of(layout, bases), FunctionNames(file, module.sections))


def observe_logged_load(
    guest: Guest, log: ExecutionLog, file: KernelModule, layout: Layout, data: bytes, parameters: str
) -> LoggedLoad:
    """Tries to load the module as three kinds of process; the one that may opens and removes it."""
    others = loaded_modules(guest, file.release)
    root = guest.process()
    attempts.drop_cap_sys_module(root)
    root_status = attempts.status_of(guest, root)
    with log.recording("finit_module by root without CAP_SYS_MODULE") as root_executed:
        root_without = attempts.finit(
            guest, "root without CAP_SYS_MODULE", data, parameters=parameters, process=root
        )

    namespace = guest.process()
    attempts.enter_new_user_namespace(namespace)
    namespace_status = attempts.status_of(guest, namespace)
    namespace_root = attempts.finit(
        guest, "root of a user namespace of its own, with every capability there", data, process=namespace
    )

    user = guest.process()
    attempts.become_user_with_cap_sys_module(user)
    user_status = attempts.status_of(guest, user)
    devices = character_devices(guest)
    with log.recording("finit_module by uid 1000 with CAP_SYS_MODULE") as user_executed:
        user_with = attempts.finit(
            guest, "uid 1000 with CAP_SYS_MODULE", data, parameters=parameters, process=user
        )
    loaded, device, function = user_executed[0], "", ""
    if user_with.worked:
        places = places_of(guest, file, layout)
        loaded = named(loaded, places.blocks, places.names)
        device = next(iter(sorted(character_devices(guest) - devices)), "")
        if device:
            device, function = _first_function(guest, log, device, places)
        attempts.delete(guest, "rmmod", file.name)
    for process in (root, namespace, user):
        process.kill()
    nothing_of_it = apart_from(root_executed[0], others)
    privilege = Privilege(
        user_with,
        user_status,
        loaded,
        root_without,
        root_status,
        nothing_of_it,
        namespace_root,
        namespace_status,
    )
    return LoggedLoad(privilege, loaded, device, function)


def _first_function(guest: Guest, log: ExecutionLog, device: str, places: ModulePlaces) -> tuple[str, str]:
    """Returns the device and the first function that an open of it enters; "", "" when it refuses."""
    try:
        with log.recording(f"open {device}") as executed:
            opened = guest.open(device)
    except OSError:
        return "", ""
    opened.close()
    blocks = named(executed[0], places.blocks, places.names).blocks
    return device, blocks[0].symbol if blocks and "+" not in blocks[0].symbol else ""


def character_devices(guest: Guest) -> set[str]:
    """Returns the paths of the character devices in /dev itself."""
    process = guest.syscaller
    paths = (f"/dev/{name}" for name in process.list_directory("/dev"))
    return {path for path in paths if stat.S_ISCHR(process.stat(path, follow=False).st_mode)}
