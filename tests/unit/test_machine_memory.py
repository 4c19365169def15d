"""Guest memory from outside: QEMU's answers, a guest's registers, whose vmlinux it is."""

from __future__ import annotations

import base64
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.errors import MissingTool, QemuDied
from kmod_harness.machine import Gdb, GuestMemory, Machine, MemoryClosed, NotInRam, UnmappedAddress
from kmod_harness.machine.gdb_mi import console_command, parse_record, quote, unescape
from kmod_harness.machine.kernel_identity import (
    VmlinuxMismatch,
    build_id_of,
    check_vmlinux,
    read_vmlinux_notes,
)
from kmod_harness.machine.physical_memory import PhysicalMemory, ram_ranges
from kmod_harness.machine.qmp import CommandRefused
from kmod_harness.machine.registers import RegistersUnreadable, parse_registers

#: As QEMU 7.2.22 wrote it, without the floating-point and vector registers.
IDLE = """
CPU#0
RAX=000000000001ad40 RBX=0000000000000000 RCX=000000000000001f RDX=0000000000000000
RSI=0000000000000000 RDI=0000000000000334 RBP=ffffffff8a011a40 RSP=ffffffff8a003ec8
R8 =0000000000000004 R9 =0000000000000220 R10=ffff906340a5c120 R11=0000000000000000
R12=0000000000000000 R13=0000000000000000 R14=0000000000000000 R15=0000000000013bf0
RIP=ffffffff89972c9b RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
ES =0000 0000000000000000 00000000 00000000
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]
SS =0018 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
DS =0000 0000000000000000 00000000 00000000
FS =0000 0000000000000000 00000000 00000000
GS =0000 ffff90634f200000 00000000 00000000
LDT=0000 0000000000000000 00000000 00008200 DPL=0 LDT
TR =0040 fffffe0000003000 00000067 00008900 DPL=0 TSS64-avl
GDT=     fffffe0000001000 0000007f
IDT=     fffffe0000000000 00000fff
CR0=80050033 CR2=00007f92b9b70000 CR3=000000000014e000 CR4=003506b0
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000
DR6=00000000ffff0ff0 DR7=0000000000000400
EFER=0000000000000d01
"""
USER = (
    IDLE.replace("CPU#0", "CPU#1")
    .replace("CPL=0", "CPL=3")
    .replace("HLT=1", "HLT=0")
    .replace("CR4=003506b0", "CR4=003516b0")
    .replace("CR3=000000000014e000", "CR3=0000000000b5f000")
)
#: As at the first instruction: a CPU in real mode, names and widths of 32 bits.
RESET = """
CPU#0
EAX=00000000 EBX=00000000 ECX=00000000 EDX=000806f8
ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0000 00000000 0000ffff 00009300
CS =f000 ffff0000 0000ffff 00009b00
SS =0000 00000000 0000ffff 00009300
DS =0000 00000000 0000ffff 00009300
FS =0000 00000000 0000ffff 00009300
GS =0000 00000000 0000ffff 00009300
CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000
EFER=0000000000000000
"""


class TestRegisters:
    def test_of_each_cpu(self) -> None:
        kernel, user = parse_registers(IDLE + USER)
        assert (kernel.cpu, kernel.cpl, kernel.halted) == (0, 0, True)
        assert (user.cpu, user.cpl, user.halted) == (1, 3, False)
        assert (kernel.rip, kernel.rsp, kernel.rflags) == (0xFFFFFFFF89972C9B, 0xFFFFFFFF8A003EC8, 0x246)
        assert (kernel.cs, kernel.ss, kernel.gs_base) == (0x10, 0x18, 0xFFFF90634F200000)
        assert (kernel.cr2, kernel.cr3) == (0x7F92B9B70000, 0x14E000)
        assert kernel.general["r10"] == 0xFFFF906340A5C120
        assert kernel.general["r8"] == 4
        assert len(kernel.general) == 16
        assert (kernel.page_table_levels, user.page_table_levels) == (4, 5)
        assert kernel.honours_no_execute

    def test_of_the_only_cpu_where_qemu_does_not_number_it(self) -> None:
        assert parse_registers(IDLE.replace("CPU#0\n", "")) == parse_registers(IDLE)

    def test_before_the_kernel_has_set_up_paging(self) -> None:
        (cpu,) = parse_registers(RESET)
        assert cpu.rip == 0xFFF0
        with pytest.raises(RegistersUnreadable, match="not in 64-bit mode"):
            _ = cpu.page_table_levels

    @given(st.text(max_size=300))
    def test_of_any_other_text_are_refused(self, text: str) -> None:
        with pytest.raises(RegistersUnreadable):
            parse_registers(text)


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

    @property
    def physical_memory(self) -> PhysicalMemory:
        self._memory = self._memory or PhysicalMemory(self.machine)
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


def note(name: bytes, kind: int, content: bytes) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack("<III", len(name), len(content), kind) + padded(name) + padded(content)


class TestIdentity:
    BUILD_ID = bytes(range(20))
    NOTES = note(b"Xen\0", 6, b"linux\0") + note(b"GNU\0", 3, BUILD_ID) + note(b"Linux\0", 0, b"")

    def vmlinux(self, directory: Path, notes: bytes) -> Path:
        data = ",".join(map(str, notes))
        source = f'.section .notes,"a",@note\n.byte {data}\n' if notes else ".text\nnop\n"
        path = directory / "vmlinux"
        argv = ["gcc", "-c", "-x", "assembler", "-", "-o", str(path)]
        subprocess.run(argv, input=source.encode(), check=True)
        return path

    def test_the_build_id_is_found_among_the_notes(self) -> None:
        assert build_id_of(self.NOTES) == self.BUILD_ID
        assert build_id_of(note(b"GNU\0", 1, self.BUILD_ID) + note(b"Gnu\0", 3, self.BUILD_ID)) == b""

    @given(st.binary(max_size=200))
    def test_any_bytes_have_one_or_none(self, data: bytes) -> None:
        assert build_id_of(data) in data

    def test_the_running_kernels_vmlinux_is_accepted(self, tmp_path: Path) -> None:
        path = self.vmlinux(tmp_path, self.NOTES)
        assert read_vmlinux_notes(path).data == self.NOTES
        assert (
            check_vmlinux(lambda at, size: (bytes(64) + self.NOTES)[at : at + size], path, 64)
            == self.BUILD_ID
        )

    def test_another_kernels_is_refused_with_both_build_ids(self, tmp_path: Path) -> None:
        path = self.vmlinux(tmp_path, self.NOTES)
        other = self.NOTES.replace(self.BUILD_ID, self.BUILD_ID[::-1])
        with pytest.raises(VmlinuxMismatch) as error:
            check_vmlinux(lambda at, size: other, path, 0)
        assert self.BUILD_ID.hex() in error.value.evidence
        assert self.BUILD_ID[::-1].hex() in error.value.evidence

    def test_where_nothing_is_mapped_there_is_another_kernel(self, tmp_path: Path) -> None:
        def read(address: int, size: int) -> bytes:
            raise UnmappedAddress(address)

        with pytest.raises(VmlinuxMismatch, match="not the running kernel's"):
            check_vmlinux(read, self.vmlinux(tmp_path, self.NOTES), 0)

    def test_what_cannot_tell_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(VmlinuxMismatch, match="has no build-id"):
            check_vmlinux(lambda at, size: b"", self.vmlinux(tmp_path, note(b"GNU\0", 1, b"abcd")), 0)
        with pytest.raises(VmlinuxMismatch, match="has no notes"):
            read_vmlinux_notes(self.vmlinux(tmp_path, b""))
        with pytest.raises(VmlinuxMismatch, match="is not a vmlinux"):
            read_vmlinux_notes(Path(__file__))
        with pytest.raises(VmlinuxMismatch, match="is not a vmlinux"):
            read_vmlinux_notes(tmp_path / "missing")


class TestGdb:
    def test_its_records_are_told_apart(self) -> None:
        assert parse_record("(gdb) ") is None
        assert parse_record("^C") is None
        stream = parse_record('~"a \\"word\\"\\n"')
        assert stream is not None
        assert (stream.kind, stream.text) == ("~", 'a "word"\n')
        stop = parse_record('*stopped,reason="breakpoint-hit",disp="keep",frame={addr="0x1",func="f"}')
        assert stop is not None
        assert (stop.record_class, stop.field("reason"), stop.field("func")) == (
            "stopped",
            "breakpoint-hit",
            "f",
        )
        assert stop.field("missing") == ""

    @given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n")))
    def test_a_text_survives_being_quoted(self, text: str) -> None:
        quoted = quote(text)
        assert unescape(quoted[1:-1]) == text
        assert console_command(7, text) == f"7-interpreter-exec console {quoted}\n"

    def test_two_lines_are_no_command(self) -> None:
        with pytest.raises(ValueError, match="one line"):
            console_command(1, "p 1\nshell id")

    def test_without_gdb_its_package_is_named(self, qemu: Qemu, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(MissingTool, match="gdb is not installed"):
            Gdb(qemu.machine)
