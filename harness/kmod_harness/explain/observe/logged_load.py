"""A load recorded by QEMU's execution log: which processes may load the module, and what code runs."""

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
    """The result of a recorded load.

    privilege: attempts of several kinds of process
    loaded: code that ran during the load
    device: device that appeared, "" for none
    open_function: function of the module that opening the device calls first, "" for none
    """

    privilege: Privilege
    loaded: ExecutedCode
    device: str
    open_function: str


@dataclass(frozen=True)
class ModulePlaces:
    """The addresses of a loaded module.

    module: the loaded module
    bases: block -> address
    blocks: the blocks
    names: names of its functions, init's too
    """

    module: LoadedModule
    bases: Mapping[str, int]
    blocks: tuple[Region, ...]
    names: FunctionNames


def places_of(guest: Guest, file: KernelModule, layout: Layout) -> ModulePlaces:
    """Returns where a loaded module lies, by the sections in sysfs; those of init are freed already."""
    module = LoadedModule(guest, file)
    bases = layout.anchors(module.sections)
    return ModulePlaces(module, bases, blocks_of(layout, bases), FunctionNames(file, module.sections))


def observe_logged_load(
    guest: Guest, log: ExecutionLog, file: KernelModule, layout: Layout, data: bytes, parameters: str
) -> LoggedLoad:
    """Attempts to load the module as three kinds of process; the one that may also opens and unloads it."""
    others = loaded_modules(guest, file.release)
    root = guest.process()
    attempts.drop_cap_sys_module(root)
    root_status = attempts.status_of(guest, root)
    with log.recording("finit_module by root without CAP_SYS_MODULE") as root_executed:
        root_without = attempts.finit_module(
            guest, "root without CAP_SYS_MODULE", data, parameters=parameters, process=root
        )

    namespace = guest.process()
    attempts.enter_new_user_namespace(namespace)
    namespace_status = attempts.status_of(guest, namespace)
    namespace_root = attempts.finit_module(
        guest, "root of a user namespace of its own, with every capability there", data, process=namespace
    )

    user = guest.process()
    attempts.become_user_with_cap_sys_module(user)
    user_status = attempts.status_of(guest, user)
    devices = character_devices(guest)
    with log.recording("finit_module by uid 1000 with CAP_SYS_MODULE") as user_executed:
        user_with = attempts.finit_module(
            guest, "uid 1000 with CAP_SYS_MODULE", data, parameters=parameters, process=user
        )
    loaded, device, function = user_executed[0], "", ""
    if user_with.worked:
        places = places_of(guest, file, layout)
        loaded = named(loaded, places.blocks, places.names)
        device = next(iter(sorted(character_devices(guest) - devices)), "")
        if device:
            device, function = _first_function(guest, log, device, places)
        attempts.delete_module(guest, "rmmod", file.name)
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
    """Returns the device and the first function that opening it enters; "", "" when the open is refused."""
    try:
        with log.recording(f"open {device}") as executed:
            opened = guest.open(device)
    except OSError:
        return "", ""
    opened.close()
    blocks = named(executed[0], places.blocks, places.names).blocks
    return device, blocks[0].symbol if blocks and "+" not in blocks[0].symbol else ""


def character_devices(guest: Guest) -> set[str]:
    """Returns the paths of the character devices in /dev, without its directories."""
    process = guest.syscaller
    paths = (f"/dev/{name}" for name in process.list_directory("/dev"))
    return {path for path in paths if stat.S_ISCHR(process.stat(path, follow=False).st_mode)}
