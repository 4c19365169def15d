"""One function followed into the kernel: which of its bytes change at which step."""

from __future__ import annotations

from dataclasses import replace

from kmod_harness.explain.observed.code_history import CodeHistory, Moment
from kmod_harness.explain.page.followed_function import MAX_ROWS, FollowedFunction, followed_function
from kmod_harness.kmod.elf.module import Symbol
from unit.explain.page import sample, sample_code


def followed() -> FollowedFunction:
    function = followed_function(sample_code.observations())
    assert function is not None
    return function


def test_each_instruction_is_a_row_with_its_place_in_the_file_and_in_memory() -> None:
    function = followed()
    assert (function.name, function.size, function.left_out) == ("chardev_free", sample_code.SIZE, 0)
    assert [row.file_offset - sample_code.START for row in function.rows] == [0, 5, 6, 9, 16, 21, 24, 25]
    assert all(row.address - row.file_offset == sample.BASE for row in function.rows)


def test_in_the_file_a_call_has_a_blank_for_a_target() -> None:
    call = followed().rows[4]
    assert call.file.runs == (("e8", False), ("00 00 00 00", True))
    assert (call.file.code, call.file.operand, call.file.blank) == ("call", "", True)
    assert call.wants == "kvfree"


def test_linked_the_call_leads_to_what_its_blank_was_for() -> None:
    call = followed().rows[4]
    distance = (0xFFFFFFFF82300000 - (call.address + 5)) & 0xFFFFFFFF
    assert call.linked.runs == (("e8", False), (distance.to_bytes(4, "little").hex(" "), True))
    assert (call.linked.code, call.linked.operand, call.linked.blank) == ("call", "kvfree", False)
    assert call.image_kind == "kernel"


def test_running_what_was_changed_after_the_link_is_marked_and_has_its_reason() -> None:
    hook, *others = followed().rows
    assert hook.running.runs == (("0f 1f 44 00 00", True),)
    assert hook.running.code == "nop"
    assert "tracers" in hook.patched
    assert not any(row.patched for row in others)
    assert others[3].running.operand == "kvfree"


def test_what_never_changes_is_one_text_in_all_states() -> None:
    push = followed().rows[1]
    assert not push.changes
    assert push.file == push.linked == push.running
    assert (push.file.code, push.file.runs) == ("push rbx", (("53", False),))


def test_the_sums_are_of_this_function() -> None:
    function = followed()
    assert (function.blanks, function.names) == (3, ("kvfree", "kfree"))
    assert 0 < function.patched_bytes <= 5
    assert function.table == ".rodata+0x30"
    assert function.permissions[Moment.LINKED] == "rw-"
    assert function.permissions[Moment.RUNNING] == "r-x"


def test_without_a_debugger_the_linked_bytes_are_computed_and_the_reader_is_told() -> None:
    seen = sample_code.observations()
    end = CodeHistory(seen.code.moments[-1:], seen.code.patches)
    computed = followed_function(replace(seen, code=end))
    assert computed is not None
    assert computed.rows == followed().rows
    assert followed().measured
    assert not computed.measured


def test_a_long_function_is_cut() -> None:
    seen = sample.observations()
    code = sample_code.history(seen.module.data, seen.linking.relocations, 0x14B)
    function = followed_function(replace(seen, code=code))
    assert function is not None
    assert function.name == "chardev_open"
    assert len(function.rows) == MAX_ROWS
    assert function.left_out > 0


def test_of_short_functions_the_one_with_most_kinds_of_change_is_taken() -> None:
    seen = sample_code.observations()
    # given: a function that is nearly as long, and only calls
    calls = Symbol("only_calls", sample_code.START + 16, 5, "FUNC", "LOCAL", ".text")
    function = followed_function(
        replace(seen, module=replace(seen.module, symbols=(calls, *seen.module.symbols)))
    )
    assert function is not None and function.name == "chardev_free"


def test_a_module_whose_code_was_not_read_has_no_such_drawing() -> None:
    assert followed_function(sample.observations()) is None
    without = sample_code.observations()
    assert followed_function(replace(without, module=replace(without.module, symbols=()))) is None
