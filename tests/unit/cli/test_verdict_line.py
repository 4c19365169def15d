"""The last line of a command that judges fits a terminal, and is always one line."""

from __future__ import annotations

from kmod_harness.cli.verdict_line import VerdictLine


def test_a_reason_that_has_room_stands_in_it() -> None:
    line = VerdictLine("splat", "NULL pointer dereference in f", ["1 module loaded", "0.7 s"])
    assert line.has_reason
    assert str(line) == "kmod-harness: splat: NULL pointer dereference in f, 1 module loaded, 0.7 s"


def test_a_longer_one_stands_above_it() -> None:
    line = VerdictLine("setup-error", "word " * 20, ["0.7 s"])
    assert not line.has_reason
    assert str(line) == "kmod-harness: setup-error: the reason is above, 0.7 s"


def test_a_run_that_passed_has_none() -> None:
    assert str(VerdictLine("passed", "", ["0.7 s"])) == "kmod-harness: passed: 0.7 s"
