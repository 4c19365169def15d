"""A stopped machine that waits for gdb, with a file of the commands for gdb."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.debug.gdb_commands import Stops, gdb_commands
from kmod_harness.kmod.elf.for_gdb import file_for_gdb
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.symbols.symbol_files import parse_system_map
from kmod_harness.machine.machine import Machine
from kmod_harness.machine.memory.guest_memory import GuestMemory


def open_stub(machine: Machine, kernel: Kernel, modules: Sequence[KernelModule], stops: Stops) -> Path:
    """Stops the machine, opens QEMU's gdb stub, and returns a file for `gdb -x`.

    The file, and copies of modules that gdb cannot read unchanged, are in the machine's private directory.
    Raises KernelNotFound, QemuDied.
    """
    slide = _slide(machine, kernel)
    machine.qmp("stop")
    machine.monitor(f"gdbserver unix:{machine.ends.gdb_socket},server=on,wait=off")
    files = {module.name: file_for_gdb(module, machine.directory / "modules") for module in modules}
    commands = gdb_commands(kernel.vmlinux, slide, machine.ends.gdb_socket, files, stops)
    script = machine.directory / "gdb.commands"
    # a path in it may hold bytes that are no text
    script.write_bytes(os.fsencode("".join(f"{command}\n" for command in commands)))
    return script


def _slide(machine: Machine, kernel: Kernel) -> int:
    """Returns KASLR's slide in bytes, by the page tables; 0 for a kernel without vmlinux."""
    if kernel.vmlinux is None or kernel.system_map is None:
        return 0
    linked = parse_system_map(kernel.system_map.read_text()).address_of["_text"]
    with GuestMemory(machine) as memory:
        return memory.slide(linked)
