"""The guest's memory from outside agrees with what the guest, and QEMU by other ways, say about it."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness import Guest, Spec, prepare
from kmod_harness.cli.demo.show import kept_blocks
from kmod_harness.errors import KernelPanic, QemuDied
from kmod_harness.guest.loaded_module import LoadedModule
from kmod_harness.lifecycle.boot import boot
from kmod_harness.lifecycle.checkpoint import save_checkpoint
from kmod_harness.lifecycle.standby import GuestSource
from kmod_harness.machine.gdb.gdb_process import Gdb, GdbFailed
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.machine.memory.kernel_identity import VmlinuxMismatch, build_id_of, check_vmlinux
from kmod_harness.machine.memory.kernel_place import LINKED_TEXT
from kmod_harness.pytest_plugin.testbed import Testbed

DEVICE = "/dev/chardev0"
#: mov eax, -ENXIO; ret
RETURN_ENXIO = b"\xb8" + (-errno.ENXIO).to_bytes(4, "little", signed=True) + b"\xc3"


@pytest.fixture
def chardev(guest: Guest, chardev_ko: Path) -> LoadedModule:
    return guest.load(chardev_ko)


def qemu_s_translation(guest: Guest, address: int) -> int:
    return int(guest.machine.monitor(f"gva2gpa {address:#x}").split()[-1], 16)


def qemu_s_bytes(guest: Guest, address: int, size: int) -> bytes:
    """By QMP's memsave, which walks the page tables in QEMU; it takes the address as a signed number."""
    path = guest.machine.directory / "memsave"
    guest.machine.qmp("memsave", {"val": address - (1 << 64), "size": size, "filename": str(path)})
    return path.read_bytes()


def test_a_module_s_pages_are_those_qemu_finds_and_none_can_be_written_and_executed(
    guest: Guest, chardev: LoadedModule, machine: Testbed
) -> None:
    # one block up to 6.3, from 6.4 on one for each kind of memory
    blocks = kept_blocks(chardev, machine.prepared.kernel).values()
    assert sum(end - start for start, end in blocks) == chardev.size
    assert min(start for start, _ in blocks) <= chardev.address < max(end for _, end in blocks)
    with GuestMemory(guest.machine) as memory:
        pages = [both for start, end in blocks for both in memory.pages(start, end)]
        for both in pages:
            assert both.page.physical == qemu_s_translation(guest, both.page.virtual)
            assert both.alias is not None
            assert both.alias.physical == both.page.physical
            assert both.alias.virtual == memory.direct_map + both.page.physical
            assert both.alias.physical == qemu_s_translation(guest, both.alias.virtual)
            assert not both.is_writable_and_executable
        for start, end in blocks:
            assert memory.read_virtual(start, end - start) == qemu_s_bytes(guest, start, end - start)
        permissions = {
            name: memory.tables.page(chardev.sections[name]).permissions
            for name in (".text", ".rodata", ".data..ro_after_init", ".data")
        }
    assert [both.page.virtual for both in pages] == [
        address for start, end in blocks for address in range(start, end, 4096)
    ]
    assert permissions == {".text": "r-x", ".rodata": "r--", ".data..ro_after_init": "r--", ".data": "rw-"}


def check_the_kernel_s_place(guest: Guest) -> None:
    kernel = guest.kallsyms().kernel_address_of
    iomem = guest.run(["grep", "Kernel code", "/proc/iomem"]).text
    with GuestMemory(guest.machine) as memory:
        assert memory.slide() == kernel["_text"] - LINKED_TEXT
        assert memory.tables.page(kernel["_text"]).physical == int(iomem.split("-")[0], 16)
        if "page_offset_base" in kernel:
            base = memory.read_virtual(kernel["page_offset_base"], 8)
            assert memory.direct_map == int.from_bytes(base, "little")
        assert memory.read_virtual(kernel["linux_banner"], 14) == b"Linux version "


def test_slide_and_direct_map_are_found_in_the_page_tables_alone(guest: Guest) -> None:
    check_the_kernel_s_place(guest)


@pytest.fixture(scope="module")
def isolated(machine_spec: Spec) -> Iterator[Guest]:
    """A boot of its own: page-table isolation, two CPUs, and five levels where the kernel has them."""
    spec = replace(
        machine_spec,
        cpus=2,
        append=(*machine_spec.append, "pti=on"),
        qemu_args=(*machine_spec.qemu_args, "-cpu", "max"),
    )
    with boot(prepare(spec)) as guest:
        yield guest


class TestIsolatedPageTables:
    def test_they_have_the_levels_the_kernel_uses(self, isolated: Guest) -> None:
        flags = isolated.run(["grep", "-m1", "flags", "/proc/cpuinfo"]).text.split()
        assert "pti" in flags
        with GuestMemory(isolated.machine) as memory:
            assert len(memory.registers) == 2
            assert memory.tables.levels == (5 if "la57" in flags else 4)
        check_the_kernel_s_place(isolated)

    def test_a_cpu_in_user_mode_shows_the_module_too(self, isolated: Guest, chardev_ko: Path) -> None:
        chardev = isolated.load(chardev_ko)
        text = chardev.sections[".text"]
        for _ in isolated.spec.cpus * [None]:
            isolated.run(["sh", "-c", "while :; do :; done >/dev/null 2>&1 &"])
        deadline = time.monotonic() + 60
        read = []
        while time.monotonic() < deadline:
            with GuestMemory(isolated.machine) as memory:
                read.append(memory.read_virtual(text, 64))
                cpu = memory.registers[0]
                if cpu.cpl == 3:
                    assert "Unmapped" in isolated.machine.monitor(f"gva2gpa {text:#x}")
                    assert memory.tables.page(cpu.rip).user
                    break
        else:
            pytest.fail("no CPU was in user mode, although each has a process that never leaves it")
        assert len(set(read)) == 1


@pytest.mark.usefixtures("chardev")
class TestWriting:
    def test_changed_text_is_what_runs_from_then_on(self, guest: Guest, chardev: LoadedModule) -> None:
        opens = chardev.symbol("chardev_open")
        guest.open(DEVICE).close()  # translated, and kept, by software emulation
        with GuestMemory(guest.machine) as memory:
            assert not memory.tables.page(opens).writable
            before = memory.read_virtual(opens, len(RETURN_ENXIO))
            memory.write_virtual(opens, RETURN_ENXIO)
        with pytest.raises(OSError) as error:
            guest.open(DEVICE)
        assert error.value.errno == errno.ENXIO
        with GuestMemory(guest.machine) as memory:
            memory.write_virtual(opens, before)
        guest.open(DEVICE).close()

    def test_it_goes_into_checkpoints_and_not_into_templates(
        self, guest: Guest, chardev: LoadedModule, machine: Testbed, tmp_path: Path
    ) -> None:
        opens = chardev.symbol("chardev_open")
        with GuestMemory(guest.machine) as memory:
            physical = memory.tables.page(opens).physical_of(opens)
            memory.write_virtual(opens, RETURN_ENXIO)
        with machine.guest() as other, GuestMemory(other.machine) as memory:
            assert memory.read_physical(physical, len(RETURN_ENXIO)) != RETURN_ENXIO
        prepared = machine.prepared
        checkpoint = save_checkpoint(prepared, guest, tmp_path)
        with GuestSource(prepared, checkpoint=checkpoint, standby=False) as source, source.guest() as branch:
            with GuestMemory(branch.machine) as memory:
                assert memory.read_virtual(opens, len(RETURN_ENXIO)) == RETURN_ENXIO
            with pytest.raises(OSError):
                branch.open(DEVICE)


def test_a_vmlinux_is_the_running_kernel_s_or_refused(
    guest: Guest, machine: Testbed, chardev_ko: Path
) -> None:
    vmlinux = machine.prepared.kernel.vmlinux
    with guest.open("/sys/kernel/notes") as notes:
        running = build_id_of(notes.read(4096))
    assert len(running) == 20
    with GuestMemory(guest.machine) as memory:
        if vmlinux is not None:
            assert check_vmlinux(memory.read_virtual, vmlinux, memory.slide()) == running
        with pytest.raises(VmlinuxMismatch):
            check_vmlinux(memory.read_virtual, chardev_ko, memory.slide())


class TestAGuestThatEnds:
    """Machines of their own: what a failing guest leaves is no splat of the test's."""

    def test_a_panicked_one_is_read_as_any_other(self, machine: Testbed) -> None:
        with boot(machine.prepared, cold=False) as guest:
            banner = guest.kallsyms().kernel_address_of["linux_banner"]
            with pytest.raises(KernelPanic):
                guest.write_file("/proc/sysrq-trigger", b"c")
            with GuestMemory(guest.machine) as memory:
                assert memory.read_virtual(banner, 14) == b"Linux version "
                assert any(cpu.cpl == 0 for cpu in memory.registers)
            assert not guest.machine.qmp("query-status")["running"]

    def test_one_whose_qemu_dies_meanwhile_is_told(self, machine: Testbed) -> None:
        with boot(machine.prepared, cold=False) as guest, pytest.raises(QemuDied):  # noqa: SIM117
            with GuestMemory(guest.machine) as memory:
                memory.read_physical(0x100000, 1 << 20)
                os.kill(guest.machine.pid, signal.SIGKILL)
                for _ in range(100):
                    memory.read_physical(0x100000, 1 << 20)


@pytest.mark.needs("gdb")
@pytest.mark.usefixtures("chardev")
class TestGdb:
    def test_a_breakpoint_is_hit_while_another_thread_opens_and_is_gone_afterwards(
        self, guest: Guest, chardev: LoadedModule, machine: Testbed
    ) -> None:
        opens = chardev.symbol("chardev_open")
        vmlinux = machine.prepared.kernel.vmlinux
        with GuestMemory(guest.machine) as memory:
            slide = memory.slide()
        with ThreadPoolExecutor(1) as pool:
            with Gdb(guest.machine, vmlinux, slide) as gdb:
                gdb.ask(f"hbreak *{opens:#x}")
                gdb.resume()
                opening = pool.submit(guest.open, DEVICE)
                assert gdb.await_stop() == "breakpoint-hit"
                with GuestMemory(guest.machine) as memory:
                    assert opens in [cpu.rip for cpu in memory.registers]
                assert gdb.value("$pc") == opens
                if vmlinux is not None:
                    assert "fs/char_dev.c:" in gdb.ask("backtrace")
                gdb.resume()
            # left while it ran
            opening.result(timeout=60).close()
        guest.open(DEVICE).close()

    def test_what_gdb_refuses_is_told_in_its_words_and_the_guest_runs_on(self, guest: Guest) -> None:
        with (
            pytest.raises(GdbFailed, match="No symbol table is loaded"),
            Gdb(guest.machine) as gdb,
        ):
            gdb.ask("break nothing")
        assert guest.run(["echo", "alive"]).text == "alive\n"
