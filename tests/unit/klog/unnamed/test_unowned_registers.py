"""Registers that the kernel dumped and no known report owns."""

from __future__ import annotations

import pytest

from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats

CPU = "CPU: 0 PID: 41 Comm: sh Tainted: G           O       6.1.192 #1"
DUMP = (
    "Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2 04/01/2014",
    "RIP: 0010:mine_write+0x12/0x20 [mine]",
    "Code: 90 90 0f 0b",
    "RSP: 0018:ffffc90000013e48 EFLAGS: 00000246",
    "RAX: 0000000000000000 RBX: ffff888003a5e000 RCX: 0000000000000000",
    "CR2: 0000000000000000 CR3: 0000000003a5e000 CR4: 00000000000006b0",
    "Call Trace:",
    " <TASK>",
    " vfs_write+0x1/0x2",
    " </TASK>",
)


def found(*lines: str) -> tuple[Splat, ...]:
    around = "<6>[    1.000000] demo: fine\n" * 15
    said = "".join(f"<4>[    2.000000] {line}\n" for line in lines)
    log = parse_console(f"{around}{said}{around}")
    return find_splats(log, survived=len(log))


def test_registers_that_the_kernel_dumped_are_a_report_named_by_the_line_above() -> None:
    (splat,) = found("a trap of which no row knows: 0x12", CPU, *DUMP)
    assert (splat.kind, splat.is_unnamed) == (SplatKind.OTHER, True)
    assert splat.title == "a trap of which no row knows: ADDR in mine_write"
    assert splat.registers["RAX"] == 0
    assert splat.text.splitlines()[-1].endswith("</TASK>")


@pytest.mark.parametrize(
    "asked", ["sysrq: Show Regs", "NMI backtrace for cpu 0", "Sending NMI from CPU 1 to CPUs 0:"]
)
def test_registers_that_somebody_asked_for_are_none(asked: str) -> None:
    assert found(asked, CPU, *DUMP) == ()


def test_registers_of_what_an_interrupt_stopped_within_a_modules_own_stack_are_none() -> None:
    stack = (CPU, "Call Trace:", " <IRQ>", " dump_stack_lvl+0x33/0x46", " mine_irq+0x1/0x2 [mine]", " </IRQ>")
    assert found("mine: look where we are", *stack, *DUMP[1:6], " default_idle+0x1/0x2") == ()


def test_a_programs_registers_are_none() -> None:
    user = tuple(line.replace("RIP: 0010:", "RIP: 0033:") for line in DUMP)
    assert found("mine: this program", CPU, *user) == ()


def test_registers_of_a_known_report_are_no_second_one() -> None:
    (splat,) = found("BUG: kernel NULL pointer dereference, address: 0000000000000000", CPU, *DUMP)
    assert splat.kind is SplatKind.OOPS
