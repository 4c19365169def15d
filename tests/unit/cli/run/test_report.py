"""What a run prints of the reports of its kernel: each once, with how often it came."""

from __future__ import annotations

from kmod_harness.cli.run.report import alike
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats

BODY = "[    1.000000] CPU: 0 PID: 45 Comm: sh Not tainted 6.1.0 #1\n"


def splats(*functions: str) -> tuple[Splat, ...]:
    line = "[    1.000000] WARNING: CPU: 0 PID: 45 at drivers/x.c:12 {}+0x10/0x20 [x]\n"
    return find_splats(parse_console("".join(line.format(name) + BODY for name in functions)))


def test_what_comes_again_is_told_once_with_its_number() -> None:
    found = splats("x_init", "x_write", "x_init", "x_init")
    assert [(splat.title, times) for splat, _, times in alike(found, [False] * 4)] == [
        ("WARNING in x_init", 3),
        ("WARNING in x_write", 1),
    ]


def test_one_that_was_expected_is_none_that_was_not() -> None:
    found = splats("x_init", "x_init")
    assert [(flag, times) for _, flag, times in alike(found, [True, False])] == [(True, 1), (False, 1)]
