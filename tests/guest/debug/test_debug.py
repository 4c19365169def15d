"""gdb at a guest under KASLR: in a module's init, in its functions, as modules come and go."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
import zstandard

from kmod_harness.debug.gdb_commands import Stops, gdb_commands
from shared.cli_process import kmod_harness, unwrapped
from shared.gdb_process import gdb, waiting_guest

pytestmark = pytest.mark.needs("gdb", "vmlinux")


def test_gdb_stops_on_the_first_instruction_of_init_and_in_a_function_called_later(chardev_ko: Path) -> None:
    # given: a guest with KASLR, a module that is not loaded yet
    arguments = [chardev_ko, "--at", "init", "--break", "chardev_write"]
    with waiting_guest(*arguments, "--", "sh", "-c", "echo hello > /dev/chardev0") as command:
        # when: it goes on to the first stop, then to the second
        told = gdb(
            command,
            "continue", "bt 3", "info symbol $pc", "p minors",
            "continue", "bt 12", "info args", "p chardevs[0]->counters.opens",
        )  # fmt: skip

    # then: init's first instruction, by its own section, with values; the kernel below it
    assert "init_module in section .init.text" in told
    assert "do_init_module" in told
    assert "$1 = 1" in told
    # and the write, by the way it came from user space
    assert "chardev_write (iocb=" in told
    assert "vfs_write" in told and "do_syscall_64" in told
    assert "from = 0xffff" in told
    assert "$2 = 1" in told


def test_a_watchpoint_on_a_modules_data_and_symbols_of_two_modules(
    chardev_ko: Path, chardev_stats_ko: Path
) -> None:
    with waiting_guest(chardev_ko, chardev_stats_ko, "--at", "init") as command:
        told = gdb(
            command,
            "continue", "watch debugfs_root", "continue", "bt 2",
            "delete", "continue", "info symbol $pc", "info symbol chardev_sum_counters",
        )  # fmt: skip

    assert "Hardware watchpoint" in told or "Watchpoint" in told
    assert "Old value = (struct dentry *) 0x0" in told
    assert "#0  chardev_init" in told
    # the second module's init, and the first one's function it calls
    assert "section .init.text of" in told and "chardev_stats.ko" in told
    assert "chardev_sum_counters in section .text" in told


def test_a_stop_before_a_module_is_initialised(chardev_ko: Path) -> None:
    with waiting_guest(chardev_ko, "--at", "load") as command:
        told = gdb(command, "continue", "bt 1", "info address chardev_init")
    assert "do_init_module" in told
    assert 'Symbol "chardev_init" is a function at address 0xffffffffc' in told


@pytest.mark.needs("binutils")
def test_a_compressed_module_whose_debug_information_was_split_from_it(
    chardev_ko: Path, tmp_path: Path
) -> None:
    for option, name in (("--only-keep-debug", "chardev.ko.debug"), ("--strip-debug", "chardev.ko")):
        subprocess.run(["strip", option, chardev_ko, "-o", tmp_path / name], check=True)
    packed = tmp_path / "chardev.ko.zst"
    packed.write_bytes(zstandard.compress((tmp_path / "chardev.ko").read_bytes()))
    with waiting_guest(
        packed, "--break", "chardev_write", "--", "sh", "-c", "echo x > /dev/chardev0"
    ) as command:
        told = gdb(command, "continue", "bt 1", "p chardevs[0]->counters.opens")
    assert "fops.c:" in told and "chardev_write (iocb=" in told
    assert "$1 = 1" in told


def test_without_gdb_the_package_is_named(chardev_ko: Path, tmp_path: Path) -> None:
    # given: a PATH with QEMU and no gdb
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("qemu-system-x86_64", "gcc", "ld", "as", "sh", "qemu-img"):
        with contextlib.suppress(FileExistsError):
            (tools / name).symlink_to(f"/usr/bin/{name}")
    done = kmod_harness("debug", chardev_ko, env={**os.environ, "PATH": str(tools)})
    assert done.returncode == 2
    assert "gdb is not installed" in unwrapped(done.stderr)
    assert "apt-get install --no-install-recommends gdb" in unwrapped(done.stderr)


def test_a_kernel_without_vmlinux_gives_addresses_alone() -> None:
    commands = gdb_commands(None, 0, Path("/run/gdb.sock"), {}, Stops(breakpoints=("*0xffffffff81000000",)))
    assert not any("symbol-file" in command or "source" in command for command in commands)
    assert commands[-1] == "break *0xffffffff81000000"
