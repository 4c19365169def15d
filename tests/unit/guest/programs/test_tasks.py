"""What /proc tells of a task, as the evidence of a hang has it."""

from __future__ import annotations

import pytest

from kmod_harness.guest.programs.tasks import parse_task

STAT = "{pid} ({name}) {state} 27 41 41 0 -1 4194560 99 0 0 0 {user} {kernel} 0 0 20 0 1 0 192 1486848 1"
STACK = "[<0>] chardev_read+0x1c/0x40 [chardev]\n[<0>] vfs_read+0x153/0x1c6\n"


@pytest.mark.parametrize("name", ["cat", "a b", "x) R 1 2 3 (", "((", "kworker/0:1"])
def test_a_name_may_hold_anything(name: str) -> None:
    task = parse_task(STAT.format(pid=41, name=name, state="S", user=250, kernel=3), STACK, "0 0x3 0x4 1")
    assert (task.pid, task.name, task.state, task.session) == (41, name, "S", 41)
    assert (task.user_seconds, task.kernel_seconds, task.call) == (2.5, 0.03, "read")


@pytest.mark.parametrize(
    ("state", "call", "said"),
    [
        ("S", "7 0x1 0x2", "process 41 (cat) sleeps in poll"),
        ("D", "1 0x1 0x2", "process 41 (cat) sleeps, and takes no signal in write"),
        ("R", "running", "process 41 (cat) runs"),
        ("R", "-1 0x7ffc 0x401374", "process 41 (cat) runs"),
        ("Z", "", "process 41 (cat) has ended"),
        ("S", "999 0x1", "process 41 (cat) sleeps in system call 999"),
    ],
)
def test_a_task_is_told_in_words_with_its_stack(state: str, call: str, said: str) -> None:
    told = str(parse_task(STAT.format(pid=41, name="cat", state=state, user=0, kernel=0), STACK, call))
    assert told.startswith(said)
    assert told.splitlines()[-2] == "  [<0>] chardev_read+0x1c/0x40 [chardev]"
    assert ("in user mode" in told) == (state == "R")
