"""Colour: where a terminal has it and nobody has switched it off."""

from __future__ import annotations

import io

import pytest

from kmod_harness.report.colour import RED, is_coloured, outcome_word, painted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_terminal_has_it_and_a_file_has_not() -> None:
    assert is_coloured(Terminal())
    assert not is_coloured(io.StringIO())
    assert not is_coloured(None)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_it_can_be_switched_off(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert painted("text", RED, Terminal()) == "text"


@pytest.mark.parametrize(("outcome", "code"), [("passed", "32"), ("nothing-tested", "33"), ("splat", "31")])
def test_an_outcome_has_the_colour_of_its_kind(outcome: str, code: str) -> None:
    assert outcome_word(outcome, Terminal()) == f"\x1b[1;{code}m{outcome}\x1b[0m"
    assert outcome_word(outcome, io.StringIO()) == outcome
