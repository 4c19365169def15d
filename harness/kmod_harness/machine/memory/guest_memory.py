"""A guest's memory and registers, read from outside while the machine is stopped."""

from __future__ import annotations

from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

from kmod_harness.errors import MachineFailure
from kmod_harness.machine.memory.cpu_registers import Registers, RegistersUnreadable, parse_registers
from kmod_harness.machine.memory.kernel_place import (
    LINKED_TEXT,
    MappedPage,
    direct_map_base,
    kernel_slide,
    mapped_pages,
)
from kmod_harness.machine.memory.page_tables import PageTables, kernel_root
from kmod_harness.machine.memory.physical import PhysicalMemory

if TYPE_CHECKING:
    from kmod_harness.machine.machine import Machine


class GuestMemory:
    """The memory of a machine; a context manager that stops the machine, and lets it run on if it ran before.

    It also reads a guest that panicked or that gdb has stopped. One context may lie inside another. Addresses
    and sizes are in bytes. Raises MemoryClosed, and QemuDied from every method.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __enter__(self) -> GuestMemory:
        # the guest has run since these were read
        for name in ("registers", "tables", "direct_map"):
            self.__dict__.pop(name, None)
        self._ran = bool(self._machine.qmp("query-status")["running"])
        if self._ran:
            self._machine.qmp("stop")
        try:
            self._physical = self._machine.owned(PhysicalMemory)
        except BaseException:
            self._run_on()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._machine.watch.qemu_is_alive():
            self._run_on()

    def _run_on(self) -> None:
        if self._ran:
            self._machine.qmp("cont")

    # --- bytes

    def read_physical(self, address: int, size: int) -> bytes:
        """Returns bytes of RAM. Raises NotInRam."""
        return self._physical.read([(address, size)])

    def write_physical(self, address: int, data: bytes) -> None:
        """Changes RAM as a device's DMA would. Raises NotInRam."""
        self._physical.write([(address, data)])

    def read_virtual(self, address: int, size: int) -> bytes:
        """Returns bytes of the kernel's memory, by its page tables. Raises UnmappedAddress, NotInRam."""
        return self._physical.read(self._spans(address, size))

    def write_virtual(self, address: int, data: bytes) -> None:
        """Changes bytes of the kernel's memory, whatever its pages permit.

        Raises as `read_virtual`.
        """
        rest, spans = memoryview(data), []
        for physical, size in self._spans(address, len(data)):
            spans.append((physical, bytes(rest[:size])))
            rest = rest[size:]
        self._physical.write(spans)

    def _spans(self, address: int, size: int) -> list[tuple[int, int]]:
        """Returns (physical address, size) for a range of virtual bytes, adjacent ones joined."""
        spans: list[tuple[int, int]] = []
        end = address + size
        while address < end:
            page = self.tables.page(address)
            physical, here = page.physical_of(address), min(end, page.end) - address
            if spans and sum(spans[-1]) == physical:
                physical, before = spans.pop()
                spans.append((physical, before + here))
            else:
                spans.append((physical, here))
            address = page.end
        return spans

    # --- registers and page tables

    @cached_property
    def registers(self) -> tuple[Registers, ...]:
        """Each CPU's registers. Raises RegistersUnreadable."""
        return parse_registers(self._machine.monitor("info registers -a"))

    @cached_property
    def tables(self) -> PageTables:
        """The kernel's page tables, by the first CPU in 64-bit mode. Raises UnmappedAddress."""
        failure: MachineFailure | None = None
        for cpu in self.registers:
            try:
                return self.tables_of(cpu)
            except RegistersUnreadable as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def tables_of(self, cpu: Registers) -> PageTables:
        """Returns the page tables of one CPU: the kernel's half, and that of the process it runs.

        With page-table isolation no user page is executable in them: the kernel's copy forbids it. Raises
        RegistersUnreadable, UnmappedAddress.
        """
        levels = cpu.page_table_levels
        root = kernel_root(self.read_physical, cpu.cr3)
        return PageTables(self.read_physical, root, levels, no_execute=cpu.honours_no_execute)

    # --- the kernel in it

    def slide(self, linked_text: int = LINKED_TEXT) -> int:
        """Returns KASLR's slide in bytes; `linked_text` is vmlinux's `_text`. Raises KernelNotFound."""
        return kernel_slide(self.tables, linked_text)

    @cached_property
    def direct_map(self) -> int:
        """The virtual address of physical address 0 in the direct map. Raises KernelNotFound."""
        return direct_map_base(self.tables)

    def pages(self, start: int, end: int) -> tuple[MappedPage, ...]:
        """Returns each 4 KiB page of start..end with its direct-map alias. Raises UnmappedAddress."""
        return tuple(mapped_pages(self.tables, start, end, direct_map=self.direct_map))
