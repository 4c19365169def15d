"""Loading and unloading: what the kernel refuses, with its errno and its own words, and what it keeps."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from kmod_harness.errors import GuestHang, KernelOops, ModuleFileError, ModuleLoadError, ModuleMismatch
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.addresses import in_module_range
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.lifecycle.boot import boot
from kmod_harness.pytest_plugin.testbed import Testbed

FINIT, DELETE = NUMBERS["finit_module"], NUMBERS["delete_module"]


def finit(guest: Guest, data: bytes, flags: int = os.O_RDONLY) -> tuple[int, str]:
    """finit_module on any bytes, past every check of ours: the errno and what the kernel said."""
    guest.write_file("/tmp/any.ko", data)
    mark = guest.kernel_log.mark()
    with guest.open("/tmp/any.ko", flags) as file:
        number = guest.syscaller.syscall(FINIT, file.fd, b"\0", 0).errno
    guest.kernel_log.sync(guest.syscaller)
    return number, guest.kernel_log.text_since(mark)


def patched(source: Path, old: bytes, new: bytes, directory: Path) -> Path:
    data = source.read_bytes()
    assert old in data and len(old) == len(new)
    path = directory / source.name
    path.write_bytes(data.replace(old, new))
    return path


def symbols_of(guest: Guest, module: str) -> str:
    """The lines of /proc/kallsyms that belong to a module, found in the guest: it has 40,000 others."""
    return guest.run(["grep", "-F", f"[{module}]", "/proc/kallsyms"]).text


class TestAGoodModule:
    def test_it_is_where_the_kernel_says_with_all_its_sections(self, guest: Guest, chardev_ko: Path) -> None:
        with guest.load(chardev_ko) as chardev:
            assert in_module_range(chardev.address)
            assert chardev.address % 4096 == 0
            assert chardev.sections[".text"] == chardev.address
            assert (chardev.state, chardev.refcnt) == ("Live", 0)
            assert "O" in chardev.taint
            symbols = symbols_of(guest, "chardev")
            assert f"{chardev.symbol('chardev_read'):016x} t chardev_read\t[chardev]" in symbols
        assert chardev.state == ""
        assert not guest.exists("/sys/module/chardev")
        assert symbols_of(guest, "chardev") == ""

    def test_it_is_loaded_twenty_times_and_leaves_nothing(self, guest: Guest, chardev_ko: Path) -> None:
        before = guest.read_text("/proc/modules"), guest.read_text("/proc/devices")
        for _ in range(20):
            with guest.load(chardev_ko, minors=3):
                assert guest.exists("/dev/chardev2")
        assert (guest.read_text("/proc/modules"), guest.read_text("/proc/devices")) == before
        assert not guest.exists("/dev/chardev0")

    def test_init_runs_in_the_process_that_loads(self, guest: Guest, chardev_ko: Path) -> None:
        process = guest.process()
        mark = guest.kernel_log.mark()
        with guest.load(chardev_ko, process=process, minors=2, buffer_size=100):
            record = guest.kernel_log.await_text("chardev: loaded", since=mark)
        assert record.text.endswith(f"2 minors, 100 bytes each (pid {process.pid} comm harness-worker)")

    def test_one_that_needs_another_comes_after_it_and_holds_it(
        self, guest: Guest, chardev_ko: Path, chardev_stats_ko: Path
    ) -> None:
        with pytest.raises(ModuleMismatch, match="chardev_stats") as missing:
            guest.load(chardev_stats_ko)
        assert "chardev_sum_counters" in missing.value.evidence
        mark = guest.kernel_log.mark()
        with pytest.raises(ModuleLoadError) as refused:
            guest.load(chardev_stats_ko, force=True)
        assert refused.value.errno == errno.ENOENT
        assert "chardev_stats: Unknown symbol chardev_sum_counters (err -2)" in refused.value.evidence

        with guest.load(chardev_ko) as chardev:
            with guest.load(chardev_stats_ko):
                guest.kernel_log.await_text("chardev_stats: opens 0, reads 0 (0 bytes)", since=mark)
                assert chardev.refcnt == 1
                with pytest.raises(BlockingIOError):
                    chardev.unload()
            assert chardev.refcnt == 0


class TestWhatTheKernelRefuses:
    def test_another_vermagic(self, guest: Guest, chardev_ko: Path, tmp_path: Path) -> None:
        release = read_module(chardev_ko).release
        # not the release: kernels with symbol versions do not compare it (same_magic, kernel/module)
        ours, foreign = f"{release} SMP ", f"{release} UPP "
        other = patched(chardev_ko, f"vermagic={ours}".encode(), f"vermagic={foreign}".encode(), tmp_path)

        with pytest.raises(ModuleMismatch) as refused:
            guest.load(other)
        assert foreign in refused.value.evidence and ours in refused.value.evidence
        with pytest.raises(ModuleLoadError) as kernels:
            guest.load(other, force=True)
        assert kernels.value.errno == errno.ENOEXEC
        assert f"chardev: version magic '{foreign}" in kernels.value.evidence
        assert f"should be '{ours}" in kernels.value.evidence

    def test_an_unknown_symbol(self, guest: Guest, chardev_ko: Path, tmp_path: Path) -> None:
        other = patched(chardev_ko, b"\0cdev_device_add\0", b"\0cdev_device_nix\0", tmp_path)

        with pytest.raises(ModuleMismatch, match=r"this kernel would refuse chardev\.ko") as refused:
            guest.load(other)
        assert "cdev_device_nix" in refused.value.evidence
        with pytest.raises(ModuleLoadError) as kernels:
            guest.load(other, force=True)
        assert kernels.value.errno == errno.ENOENT
        assert "chardev: Unknown symbol cdev_device_nix (err -2)" in kernels.value.evidence

    def test_one_that_is_loaded_already(self, guest: Guest, chardev_ko: Path) -> None:
        with guest.load(chardev_ko), pytest.raises(ModuleLoadError) as refused:
            guest.load(chardev_ko)
        assert refused.value.errno == errno.EEXIST
        assert "the kernel log says nothing" in refused.value.evidence

    @pytest.mark.parametrize(
        ("parameters", "number", "text"),
        [
            ({"minors": "abc"}, errno.EINVAL, "chardev: `abc' invalid for parameter `minors'"),
            ({"minors": "99999999999999999999"}, errno.ERANGE, "invalid for parameter `minors'"),
            ({"trace_opens": "perhaps"}, errno.EINVAL, "invalid for parameter `trace_opens'"),
            ({"minors": 0}, errno.EINVAL, "chardev: minors must be 1 to 64, not 0"),
            ({"buffer_size": 0}, errno.EINVAL, "buffer_size must be 1 to 16777216 bytes, not 0"),
            ({"minors": 64, "buffer_size": 16 << 20}, errno.ENOMEM, "chardev: no memory for device"),
        ],
    )
    def test_a_bad_parameter(
        self, guest: Guest, chardev_ko: Path, parameters: dict[str, str | int], number: int, text: str
    ) -> None:
        with pytest.raises(ModuleLoadError) as refused:
            guest.load(chardev_ko, parameters)
        assert refused.value.errno == number
        assert text.replace("`", "'") in refused.value.evidence.replace("`", "'")
        assert not guest.exists("/sys/module/chardev")
        assert not guest.exists("/dev/chardev0")

    def test_an_unknown_parameter_only_warns(self, guest: Guest, chardev_ko: Path) -> None:
        mark = guest.kernel_log.mark()
        with guest.load(chardev_ko, nonsense=1):
            guest.kernel_log.await_text("unknown parameter 'nonsense' ignored", since=mark)

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENODEV, errno.EBUSY, 4095])
    def test_whatever_init_returns(self, guest: Guest, faulty_ko: Path, number: int) -> None:
        with pytest.raises(ModuleLoadError) as refused:
            guest.load(faulty_ko, fault="init_error", errno=number)
        assert refused.value.errno == number
        assert "faulty: init_error in init" in refused.value.evidence

    @pytest.mark.parametrize(
        ("damage", "number", "text"),
        [
            (lambda data: data[: len(data) // 2], errno.ENOEXEC, "Invalid ELF section header overflow"),
            (lambda data: data[:32], errno.ENOEXEC, "Invalid ELF header len 32"),
            (lambda data: b"#!/bin/sh\n" + bytes(4096), errno.ENOEXEC, "Invalid ELF header magic: != "),
            (
                lambda data: data[:18] + struct.pack("<H", 183) + data[20:],
                errno.ENOEXEC,
                "Invalid architecture in ELF header: 183",
            ),
            (
                lambda data: data[:16] + struct.pack("<H", 2) + data[18:],
                errno.ENOEXEC,
                "Invalid ELF header type: 2 != 1",
            ),
            (lambda data: b"", errno.EINVAL, ""),
        ],
        ids=["truncated", "header alone", "no ELF", "other machine", "executable", "empty"],
    )
    def test_a_damaged_file(
        self, guest: Guest, chardev_ko: Path, tmp_path: Path, damage: object, number: int, text: str
    ) -> None:
        assert callable(damage)
        data = damage(chardev_ko.read_bytes())

        said = finit(guest, data)
        assert said[0] == number
        assert text in said[1]
        (tmp_path / "chardev.ko").write_bytes(data)
        with pytest.raises(ModuleFileError):
            guest.load(tmp_path / "chardev.ko")

    def test_what_is_no_file_or_is_open_for_writing(self, guest: Guest, chardev_ko: Path) -> None:
        assert finit(guest, chardev_ko.read_bytes(), os.O_WRONLY)[0] == errno.EBADF
        with guest.open("/tmp") as directory:
            assert guest.syscaller.syscall(FINIT, directory.fd, b"\0", 0).errno == errno.EINVAL
        with (
            guest.process() as writer,
            writer.open("/tmp/any.ko", os.O_RDWR),
            guest.open("/tmp/any.ko") as file,
        ):
            assert guest.syscaller.syscall(FINIT, file.fd, b"\0", 0).errno == errno.ETXTBSY

    def test_a_process_without_the_capability(self, guest: Guest, chardev_ko: Path) -> None:
        nobody = guest.process()
        guest.syscaller.call("chmod", b"/tmp\0", 0o1777)
        nobody.call("setuid", 65534)
        with pytest.raises(ModuleLoadError) as refused:
            guest.load(chardev_ko, process=nobody)
        assert refused.value.errno == errno.EPERM


class TestUnloading:
    def test_it_is_refused_while_the_device_is_open(self, guest: Guest, chardev_ko: Path) -> None:
        with guest.load(chardev_ko) as chardev:
            with guest.open("/dev/chardev0"):
                # the owners of the cdev and of the file_operations: fs/char_dev.c, chrdev_open
                assert chardev.refcnt == 2
                with pytest.raises(BlockingIOError) as busy:
                    chardev.unload()
                assert busy.value.errno == errno.EAGAIN
            chardev.unload()
            with pytest.raises(FileNotFoundError):
                chardev.unload()

    def test_what_was_never_loaded(self, guest: Guest) -> None:
        assert guest.syscaller.syscall(DELETE, b"nonesuch\0", os.O_NONBLOCK).errno == errno.ENOENT

    def test_a_file_that_a_test_left_open_does_not_keep_the_module(
        self, guest: Guest, chardev_ko: Path
    ) -> None:
        guest.load(chardev_ko)
        guest.open("/dev/chardev0")

        assert guest._clean_up() == []
        assert not guest.exists("/sys/module/chardev")


class TestFaultsInInit:
    @pytest.mark.cold_boot
    @pytest.mark.expect_splat("OOPS")
    def test_an_oops_is_raised_and_the_module_stays_loading(self, guest: Guest, faulty_ko: Path) -> None:
        with pytest.raises(KernelOops, match="faulty_oops"):
            guest.load(faulty_ko, fault="oops")
        assert "faulty" in guest.read_text("/proc/modules")
        assert " Loading " in guest.read_text("/proc/modules")
        assert guest.syscaller.syscall(DELETE, b"faulty\0", os.O_NONBLOCK).errno == errno.EBUSY
        assert not guest.exists("/dev/faulty")

    def test_a_load_that_blocks_is_a_hang_whose_reason_is_not_hidden(
        self, machine: Testbed, faulty_ko: Path
    ) -> None:
        # a guest of its own: the process that waits in init for ever cannot be cleaned up
        with boot(machine.prepared) as guest:
            with pytest.raises(GuestHang, match="finit_module in the guest took longer than 1 s"):
                guest.load(faulty_ko, fault="block", timeout=1)
            # the guest itself is not hung
            assert guest.run(["echo", "alive"]).stdout == b"alive\n"
            assert guest.judge(guest.kernel_log.mark()) == ()
