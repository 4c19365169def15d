"""Where a test was when its kernel reported something: at its last call before that."""

from __future__ import annotations

import sys
from pathlib import Path

from kmod_harness.pytest_plugin.failure.last_calls import LastCalls, shown


class Log:
    """A kernel log that only has a length."""

    length = 0

    def mark(self) -> int:
        return self.length


def helper(calls: LastCalls) -> None:
    _through_the_harness(calls)


def _through_the_harness(calls: LastCalls) -> None:
    calls.note()


def here() -> int:
    return sys._getframe(1).f_lineno


def test_a_record_is_told_by_the_last_call_before_it() -> None:
    log = Log()
    calls = LastCalls(log.mark)
    helper(calls)
    first = here() - 1
    log.length = 5
    helper(calls)
    second = here() - 1

    def line(index: int) -> int:
        return next(place.line for place in calls.before(index) if place.function.startswith("test_"))

    assert [line(index) for index in (0, 4, 5, 9)] == [first, first, second, second]


def test_calls_from_one_line_are_one_with_the_mark_of_the_first() -> None:
    log = Log()
    calls = LastCalls(log.mark)
    for length in range(5000):
        log.length = length
        helper(calls)
    assert calls.before(0) == calls.before(4999) != ()


def test_before_the_first_call_and_after_a_new_beginning_nothing_is_known() -> None:
    log = Log()
    log.length = 3
    calls = LastCalls(log.mark)
    helper(calls)
    assert calls.before(2) == ()
    calls.clear()
    assert calls.before(3) == ()


def test_lines_are_shown_innermost_last_with_their_source() -> None:
    calls = LastCalls(Log().mark)
    helper(calls)
    told = shown(calls.before(0), Path(__file__).parent)
    assert told[0].startswith("test_last_calls.py:") and told[0].endswith(
        ": in test_lines_are_shown_innermost_last_with_their_source"
    )
    assert told[1] == "    helper(calls)"
    assert "    _through_the_harness(calls)" in told
