"""What a guest wrote, as a person reads it: a terminal shows it and obeys none of it."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.errors import MachineFailure
from kmod_harness.host.visible import visible, visible_bytes
from kmod_harness.klog.reading import NONCE, for_reading
from kmod_harness.report.columns import error_lines


def controls(text: str) -> set[str]:
    return {char for char in text if unicodedata.category(char) == "Cc"}


@given(st.text())
def test_no_control_character_is_left_but_tabs_and_ends_of_lines(text: str) -> None:
    assert controls(visible(text)) <= {"\t", "\n"}
    assert visible(visible(text)) == visible(text)


@given(st.text())
def test_a_programs_output_is_shown_in_pieces_too(text: str) -> None:
    data = text.encode()
    pieces = b"".join(visible_bytes(data[at : at + 1]) for at in range(len(data)))
    assert controls(visible_bytes(data).decode()) <= {"\t", "\n", "\r"}
    assert b"\x1b" not in pieces and visible_bytes(visible_bytes(data)) == visible_bytes(data)


@given(st.text(st.characters(exclude_categories=["Cc"])))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_line_of_the_log_is_shown_without_what_a_terminal_obeys() -> None:
    assert for_reading(["<4>[    1.0] my: \x1b]0;title\x07 and \x9b2J"]) == [
        r"[    1.0] my: \x1b]0;title\x07 and \x9b2J"
    ]
    assert for_reading([f"{NONCE}7"]) == []


def test_what_a_program_said_is_evidence_that_a_terminal_does_not_obey() -> None:
    error = MachineFailure("it said \x1b[31mno", evidence="\x1b[2Jerased\r\nand\rmore")

    lines = error_lines(error)

    assert not any(controls(line) for line in lines)
    assert r"  \x1b[2Jerased" in lines
