"""Which test a report is of, by its task and its modules."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.splats import Splat
from kmod_harness.pytest_plugin.blame import GuestUse, use_at_fault


def splat(task: str = "sh", pid: int | None = 50, modules: tuple[str, ...] = (), text: str = "") -> Splat:
    return Splat(SplatKind.WARNING, "WARNING in f", text, task, pid, 0, "f", "f", modules, (), 0, 3)


def uses(*known: tuple[int, str]) -> list[GuestUse]:
    """Uses by tests of the names 0, 1, ...: each the first process's number and the module it loaded."""
    return [
        GuestUse(cast(pytest.Item, str(number)), pid, frozenset(module.split()))
        for number, (pid, module) in enumerate(known)
    ]


THREE = ((20, "a"), (40, "b"), (60, ""))


@pytest.mark.parametrize(
    ("said", "test"),
    [
        # the time in which a task was started, also of a task of before all of them
        (splat(pid=20), "0"),
        (splat(pid=59), "1"),
        (splat(pid=60), "2"),
        (splat(pid=19), None),
        # its own call, into another's module
        (splat(pid=70, modules=("a",)), "2"),
        # the agent's processes do what the running test asks for
        (splat(task="harness-worker", pid=20, modules=("a",)), "2"),
        # nobody's task: the module tells
        (splat(task="kworker/0:1", pid=45, modules=("a",)), "0"),
        (splat(task="swapper/0", pid=0, modules=("b",)), "1"),
        (splat(task="", pid=None, modules=("b", "unknown")), "1"),
        (splat(task="sh", pid=65, modules=("a",), text="<4> <IRQ>\n<4> timer"), "0"),
        (splat(task="kworker/0:1", pid=45), None),
    ],
)
def test_task_then_module_tell(said: Splat, test: str | None) -> None:
    use = use_at_fault(said, uses(*THREE))
    assert (cast(Any, use.item) if use else None) == test


def test_the_latest_that_loaded_a_module_is_asked_first() -> None:
    use = use_at_fault(splat(task="kworker/0:1", modules=("a",)), uses((20, "a"), (40, "a"), (60, "")))
    assert use is not None and cast(Any, use.item) == "1"


def test_numbers_that_were_given_again_tell_nothing() -> None:
    assert use_at_fault(splat(pid=500), uses((20, ""), (32000, ""), (400, ""))) is None


def test_nobody_has_used_it() -> None:
    assert use_at_fault(splat(), []) is None
    assert use_at_fault(splat(task="harness-worker"), []) is None
