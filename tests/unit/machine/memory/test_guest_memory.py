"""Guest memory from outside: QEMU's answers, physical and by the guest's own page tables."""

from __future__ import annotations

import base64
import os
import socket
import struct
import threading
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from kmod_harness.errors import QemuDied
from kmod_harness.machine.machine import Machine
from kmod_harness.machine.memory.cpu_registers import RegistersUnreadable
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.machine.memory.page_tables import UnmappedAddress
from kmod_harness.machine.memory.physical import MemoryClosed, NotInRam, PhysicalMemory, ram_ranges
from kmod_harness.machine.qmp import CommandRefused
from unit.machine.memory.sample_registers import IDLE, RESET


class Qemu:
    """The process boundary: QMP's answers, and a qtest object that serves `ram`."""

    def __init__(self, memory_mib: int = 64) -> None:
        self.spec = SimpleNamespace(memory_mib=memory_mib)
        self.ram = bytearray(8 << 20)
        self.running = True
        self.commands: list[str] = []
        self.registers = IDLE
        self.dies_after = 1 << 30
        self.alive = True
        self.refuses = ""
        self.watch = SimpleNamespace(qemu_is_alive=lambda: self.alive)
        self._memory: PhysicalMemory | None = None

    @property
    def machine(self) -> Machine:
        return cast(Machine, self)

    def owned(self, kind: type[PhysicalMemory]) -> PhysicalMemory:
        self._memory = self._memory or kind(self.machine)
        return self._memory

    def pass_fd(self, name: str, fd: int) -> None:
        self.fd = os.dup(fd)

    def monitor(self, command: str) -> str:
        return self.registers

    def qmp(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        if not self.alive:
            raise QemuDied(f"QEMU went away during {command}")
        if command == self.refuses:
            raise CommandRefused("invalid object type: qtest")
        if command in ("stop", "cont"):
            self.running = command == "cont"
        if command == "object-add":
            threading.Thread(target=self.serve, daemon=True).start()
        return {"running": self.running}

    def serve(self) -> None:
        with socket.socket(fileno=self.fd) as end, end.makefile() as lines:
            for line in lines:
                self.commands.append(line)
                if len(self.commands) > self.dies_after:
                    self.alive = False
                    return
                word, address, size, *data = line.split()
                start, end_ = int(address, 16), int(address, 16) + int(size, 16)
                if word == "b64write":
                    self.ram[start:end_] = base64.b64decode(data[0])
                    end.sendall(b"OK\n")
                else:
                    end.sendall(b"OK " + base64.b64encode(self.ram[start:end_]) + b"\n")


@pytest.fixture
def qemu() -> Qemu:
    return Qemu()


class TestPhysicalMemory:
    def test_what_is_written_is_read(self, qemu: Qemu) -> None:
        with GuestMemory(qemu.machine) as memory:
            for size in (1, 4096, 65536, 65537, 7_000_000):
                data = os.urandom(size)
                memory.write_physical(0x100003, data)
                assert memory.read_physical(0x100003, size) == data
            before = len(qemu.commands)
            assert memory.read_physical(0x1000, 0) == b""
            assert len(qemu.commands) == before, "QEMU aborts on a size of 0"

    def test_the_machine_stands_still_meanwhile_and_runs_on_if_it_ran(self, qemu: Qemu) -> None:
        with GuestMemory(qemu.machine):
            assert not qemu.running
            with GuestMemory(qemu.machine):
                pass
            assert not qemu.running, "the inner one found it standing"
        assert qemu.running

    def test_where_there_is_no_ram_nothing_is_read_and_nothing_written(self, qemu: Qemu) -> None:
        with GuestMemory(qemu.machine) as memory:
            for address, size, first in ((64 << 20, 1, 64 << 20), ((64 << 20) - 8, 9, 64 << 20), (-4, 8, -4)):
                with pytest.raises(NotInRam) as error:
                    memory.read_physical(address, size)
                assert error.value.address == first
                with pytest.raises(NotInRam):
                    memory.write_physical(address, bytes(size))
        assert qemu.commands == []

    @pytest.mark.parametrize(
        ("mib", "last"),
        [(256, (256 << 20) - 1), (2815, (2815 << 20) - 1), (2816, 0x130000000 - 1), (8192, 0x280000000 - 1)],
    )
    def test_a_large_machine_has_ram_beyond_4_gib(self, mib: int, last: int) -> None:
        ranges = ram_ranges(mib)
        assert any(last in ram for ram in ranges)
        assert not any(last + 1 in ram for ram in ranges)
        window = 0xC0000 - 0xA0000
        assert sum(map(len, ranges)) == (mib << 20) - window

    def test_a_qemu_that_dies_while_it_is_read_is_told(self, qemu: Qemu) -> None:
        qemu.dies_after = 3
        with pytest.raises(QemuDied), GuestMemory(qemu.machine) as memory:
            memory.read_physical(0x100000, 1 << 20)

    def test_a_qemu_without_qtest_is_told_and_its_guest_runs_on(self, qemu: Qemu) -> None:
        qemu.refuses = "object-add"
        with pytest.raises(MemoryClosed, match="does not open"), GuestMemory(qemu.machine):
            pass
        assert qemu.running


MODULES, DIRECT = 0xFFFFFFFFC0000000, 0xFFFF888000000000


def map_pages(qemu: Qemu, root: int, pages: dict[int, int]) -> None:
    """Four levels of tables from physical 0x200000 on, and the three regions that make them a kernel's."""
    free = iter(range(0x200000, 0x400000, 4096))
    for region in (0xFFFFC90000000000, 0xFFFFEA0000000000):
        pages = {**pages, region: 0x1000}
    for virtual, physical in {DIRECT: 0, **pages}.items():
        table = root
        for shift in (39, 30, 21, 12):
            at = table + 8 * (virtual >> shift & 511)
            entry = int.from_bytes(qemu.ram[at : at + 8], "little")
            if shift == 12:
                entry = physical | 3
            elif not entry:
                entry = next(free) | 3
            qemu.ram[at : at + 8] = struct.pack("<Q", entry)
            table = entry & ~0xFFF


class TestVirtualMemory:
    PAGES: ClassVar = {MODULES: 0x500000, MODULES + 4096: 0x501000, MODULES + 8192: 0x503000}

    @pytest.fixture(autouse=True)
    def tables(self, qemu: Qemu) -> None:
        map_pages(qemu, 0x14E000, self.PAGES)
        for number, physical in enumerate(self.PAGES.values()):
            qemu.ram[physical : physical + 4096] = bytes([number + 1]) * 4096

    def test_bytes_are_gathered_from_their_pages(self, qemu: Qemu) -> None:
        with GuestMemory(qemu.machine) as memory:
            read = memory.read_virtual(MODULES + 4090, 4108)
            assert read == b"\1" * 6 + b"\2" * 4096 + b"\3" * 6
            assert [page.page.physical for page in memory.pages(MODULES, MODULES + 12288)] == list(
                self.PAGES.values()
            )

    def test_bytes_are_written_to_their_pages(self, qemu: Qemu) -> None:
        data = os.urandom(5000)
        with GuestMemory(qemu.machine) as memory:
            memory.write_virtual(MODULES + 7000, data)
            assert memory.read_virtual(MODULES + 7000, 5000) == data
        assert qemu.ram[0x501000 + 7000 - 4096 : 0x502000] == data[:1192]
        assert qemu.ram[0x503000 : 0x503000 + 3808] == data[1192:]

    def test_a_page_that_is_not_mapped_is_named_and_nothing_written(self, qemu: Qemu) -> None:
        with GuestMemory(qemu.machine) as memory:
            for access in (memory.read_virtual, lambda at, size: memory.write_virtual(at, bytes(size))):
                with pytest.raises(UnmappedAddress) as error:
                    access(MODULES + 12000, 500)
                assert error.value.address == MODULES + 12288
        assert qemu.ram[0x503000:0x504000] == b"\3" * 4096

    def test_what_was_seen_before_the_guest_ran_is_forgotten(self, qemu: Qemu) -> None:
        memory = GuestMemory(qemu.machine)
        with memory:
            memory.read_virtual(MODULES, 1)
        map_pages(qemu, 0x14E000, {MODULES: 0x600000})
        with memory:
            assert memory.tables.page(MODULES).physical == 0x600000

    def test_a_cpu_that_is_not_up_yet_is_passed_over(self, qemu: Qemu) -> None:
        qemu.registers = RESET + IDLE.replace("CPU#0", "CPU#1")
        with GuestMemory(qemu.machine) as memory:
            assert memory.read_virtual(MODULES, 1) == b"\1"
        qemu.registers = RESET
        with pytest.raises(RegistersUnreadable), GuestMemory(qemu.machine) as memory:
            memory.read_virtual(MODULES, 1)
