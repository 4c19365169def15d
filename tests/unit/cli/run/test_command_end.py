"""How a command ended, as its status, its pid and the kernel log tell it."""

from __future__ import annotations

import pytest

from kmod_harness.cli.run.command_end import CommandEnd, command_end
from kmod_harness.klog.records import KernelRecord, parse_console

SEGFAULT = "seg[40]: segfault at 0 ip 000000000040161e sp 00007fffae9259f0 error 6 in seg[401000+78000]"
TRAP = "traps: div[41] trap divide error ip:401134 sp:7ffc0 error:0 in div[401000+1000]"
PROTECTION = "traps: my prog[42] general protection fault ip:401134 sp:7ffc0 error:0"
OOM = "Out of memory: Killed process 43 (eater) total-vm:1kB, anon-rss:0kB, file-rss:0kB"
OLD_OOM = "Memory cgroup out of memory: Kill process 44 (eater) score 900 or sacrifice child"
FATAL = "potentially unexpected fatal signal 6."


def log(*lines: str) -> tuple[KernelRecord, ...]:
    return parse_console("".join(f"<6>[    1.000000] {line}\n" for line in lines))


@pytest.mark.parametrize(
    ("status", "pid", "line", "signal"),
    [
        (-11, 40, SEGFAULT, "SIGSEGV"),
        (-8, 41, TRAP, "SIGFPE"),
        (-11, 42, PROTECTION, "SIGSEGV"),
        (-9, 43, OOM, "SIGKILL"),
        (-9, 44, OLD_OOM, "SIGKILL"),
        (-6, 45, f"prog: 45: {FATAL}", "SIGABRT"),
    ],
)
def test_who_killed_a_command_is_told_by_the_kernels_line(
    status: int, pid: int, line: str, signal: str
) -> None:
    others = log("hello", line, "goodbye")
    assert command_end(status, pid, others) == CommandEnd(f"killed by {signal}: {line}", signal, line)
    assert command_end(status, pid + 100, others) == CommandEnd(f"killed by {signal}", signal)


def test_a_shells_status_names_the_signal_of_its_program() -> None:
    end = command_end(139, 30, log(SEGFAULT))
    assert (end.signal, end.killed_by) == ("SIGSEGV", SEGFAULT)
    assert end.text.startswith("exit status 139, a shell's for a program that SIGSEGV killed")


@pytest.mark.parametrize("status", [1, 77, 128, 193, 200, 255])
def test_other_statuses_are_told_as_they_are(status: int) -> None:
    assert command_end(status, 30, log(SEGFAULT)) == CommandEnd(f"exit status {status}")


def test_what_a_program_wrote_into_the_log_tells_nothing() -> None:
    forged = parse_console(f"<12>[    1.000000] {SEGFAULT}\n")
    assert command_end(-11, 40, forged) == CommandEnd("killed by SIGSEGV", "SIGSEGV")
