"""gdb as the harness drives it: its records, and commands quoted for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.errors import MissingTool
from kmod_harness.machine.gdb.gdb_process import Gdb
from kmod_harness.machine.gdb.mi import console_command, parse_record, quote, unescape
from kmod_harness.machine.machine import Machine


class TestGdb:
    def test_its_records_are_told_apart(self) -> None:
        assert parse_record("(gdb) ") is None
        assert parse_record("^C") is None
        stream = parse_record('~"a \\"word\\"\\n"')
        assert stream is not None
        assert (stream.kind, stream.text) == ("~", 'a "word"\n')
        stop = parse_record('*stopped,reason="breakpoint-hit",disp="keep",frame={addr="0x1",func="f"}')
        assert stop is not None
        assert (stop.record_class, stop.field("reason"), stop.field("func")) == (
            "stopped",
            "breakpoint-hit",
            "f",
        )
        assert stop.field("missing") == ""

    @given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n")))
    def test_a_text_survives_being_quoted(self, text: str) -> None:
        quoted = quote(text)
        assert unescape(quoted[1:-1]) == text
        assert console_command(7, text) == f"7-interpreter-exec console {quoted}\n"

    def test_two_lines_are_no_command(self) -> None:
        with pytest.raises(ValueError, match="one line"):
            console_command(1, "p 1\nshell id")

    def test_without_gdb_its_package_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(MissingTool, match="gdb is not installed"):
            Gdb(cast(Machine, SimpleNamespace()))
