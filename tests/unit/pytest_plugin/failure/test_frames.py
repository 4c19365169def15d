"""Tracebacks end at the caller's line; what may be a fault of ours says how to see the rest."""

from __future__ import annotations

import traceback

import pytest

from kmod_harness.errors import Misuse
from kmod_harness.guest.agent import calls
from kmod_harness.guest.agent.calls import c_path
from kmod_harness.guest.agent.protocol import Result
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.pytest_plugin.failure.frames import hide_own_frames
from kmod_harness.spec.spec import parse_size_mib


def functions(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def hidden(error: BaseException) -> BaseException:
    hide_own_frames(pytest.ExceptionInfo.from_exception(error))
    return error


def test_a_guests_answer_ends_at_the_line_that_asked() -> None:
    with pytest.raises(OSError) as raised:
        calls.check(Result(-2, ()), "/nowhere")
    error = hidden(raised.value)
    assert functions(error) == ["test_a_guests_answer_ends_at_the_line_that_asked"]
    assert not any("--full-trace" in note for note in error.__notes__)
    # the ExceptionInfo that pytest shows is changed too
    hide_own_frames(raised)
    assert [entry.name for entry in raised.traceback] == functions(error)


def test_what_may_be_a_fault_of_ours_says_that_there_is_more() -> None:
    with pytest.raises(ValueError, match="NUL") as raised:
        c_path("a\0b")
    error = hidden(raised.value)
    assert functions(error) == ["test_what_may_be_a_fault_of_ours_says_that_there_is_more"]
    assert any("--full-trace" in note for note in error.__notes__)


def test_the_causes_end_at_the_callers_lines_too() -> None:
    with pytest.raises(LookupError) as raised:
        try:
            calls.check(Result(-2, ()), "/nowhere")
        except OSError as error:
            raise LookupError("no such thing") from error
    cause = hidden(raised.value).__cause__
    assert cause is not None and functions(cause) == functions(raised.value)


def test_what_is_of_the_test_alone_stays_as_it_is() -> None:
    with pytest.raises(AssertionError) as raised:
        assert len("a") == 2
    before = functions(raised.value)
    assert functions(hidden(raised.value)) == before
    assert not hasattr(raised.value, "__notes__")


def test_a_traceback_without_a_caller_stays_whole() -> None:
    # given: one that was raised where none of the test's own code ran
    with pytest.raises(ValueError, match="memory size") as raised:
        parse_size_mib("3Q")
    own = raised.value.__traceback__
    assert own is not None
    cause = raised.value.with_traceback(own.tb_next)

    with pytest.raises(LookupError) as outer:
        raise LookupError("no such thing") from cause
    hidden(outer.value)

    assert functions(cause) == ["parse_size_mib"]


def test_an_error_of_the_harness_says_all_by_itself() -> None:
    with pytest.raises(Misuse) as raised:
        read_module("/nonexistent.ko")
    error = hidden(raised.value)
    assert functions(error) == ["test_an_error_of_the_harness_says_all_by_itself"]
    assert not hasattr(error, "__notes__")
