"""The other commands that boot a guest: demo, boot, debug; and those that say where things are."""

from __future__ import annotations

from pathlib import Path

import pexpect

from kmod_harness import Spec
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.known import resolve_kernel
from kmod_harness.kmod.elf.module import read_module
from shared.cli_process import PATIENCE, command_line, kmod_harness


def test_the_demo_shows_every_step_and_ends_with_a_line_to_quote(run_kernel: Kernel) -> None:
    done = kmod_harness("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    story = [
        "Accelerator",
        "QEMU started",
        "the kernel's first line",
        "the kernel starts init",
        "the agent's first word",
        "[ok] the module is live",
        "[ok] /dev/chardev1 has appeared",
        "K kernel image",
        "T module text",
        "[ok] /dev/chardev0 gives back what it took",
        "[ok] the module's: ELF symbols plus section addresses",
        "[ok] the kernel's: System.map plus one KASLR slide"
        if run_kernel.system_map
        else "[--] the kernel's: not comparable",
        "info: chardev: loaded: major",
        "[ok] its init ran in the process that called finit_module",
        "[ok] its open ran in the process that opened the device",
        "[ok] nothing of it is left",
        "[ok] the kernel reported no trouble",
        "demo: passed: Linux ",
    ]
    places = [done.stdout.find(step) for step in story]
    assert -1 not in places, story[places.index(-1)]
    assert places == sorted(places)
    held = 11 if run_kernel.system_map else 10
    assert f"{held} checks held" in done.stdout.splitlines()[-1]


def test_lines_from_a_pipe_run_in_one_shell(chardev_ko: Path) -> None:
    lines = "X=5\necho $X; echo /dev/chardev*\n\ncd /tmp\npwd\nfalse\n"
    done = kmod_harness("boot", chardev_ko, "--param", "minors=2", input=lines)
    assert done.stdout == "5\n/dev/chardev0 /dev/chardev1\n/tmp\n"
    assert done.returncode == 1


def test_a_terminal_is_the_guests_shell_and_is_restored() -> None:
    host = pexpect.spawn("/bin/sh", timeout=PATIENCE, dimensions=(30, 97), encoding="utf-8")
    try:
        host.sendline("PS1='HO''ST>'; stty -g")
        host.expect("HOST>")
        before = host.before.split()[-1]
        host.sendline(" ".join(command_line("boot")))
        host.expect("ends the guest")
        host.expect("# ")
        host.sendline("stty size; echo $((40+2))")
        host.expect("30 97\r\n42\r\n")
        host.setwinsize(41, 111)
        host.sendline("until stty size | grep -q '41 11''1'; do :; done; stty size")
        host.expect("41 111\r\n")
        host.send("\x1d\x1d")
        host.expect("HOST>")
        host.sendline("echo status=$?; stty -g")
        host.expect(r"status=0\r\n(\S+)")
        assert host.match.group(1) == before
    finally:
        host.close(force=True)


def resolved_kernel(module: Path) -> Kernel:
    """Returns the kernel that a command without --kernel takes for this module."""
    return resolve_kernel(Spec(), module_release=read_module(module).release)


def test_a_kernels_build_directory_is_all_that_is_printed(run_kernel: Kernel) -> None:
    done = kmod_harness("kernel", "dir", run_kernel.name)
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert (Path(line) / "Module.symvers").is_file()
    assert line in kmod_harness("kernel", "list").stdout


def test_doctor_finds_what_run_needs(run_kernel: Kernel) -> None:
    done = kmod_harness("doctor")
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    assert f"ok kernel {run_kernel.name}: {run_kernel.release} " in said
    assert "ok accelerator " in said
