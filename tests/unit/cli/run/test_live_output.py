"""A command's output as it comes: unchanged in a file, shown on a terminal."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from kmod_harness.cli.run.live_output import LiveOutput


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "shown"), [(Terminal(), b"\\x1b[2J50 %\r100 %\n"), (io.BytesIO(), b"\x1b[2J50 %\r100 %\n")]
)
@pytest.mark.parametrize("is_stderr", [False, True])
def test_a_terminal_obeys_no_program_of_the_guest(
    monkeypatch: pytest.MonkeyPatch, stream: io.BytesIO, shown: bytes, is_stderr: bool
) -> None:
    stream.seek(0)
    stream.truncate()
    monkeypatch.setattr(sys, "stderr" if is_stderr else "stdout", SimpleNamespace(buffer=stream))

    for piece in (b"\x1b[2J50 %\r", b"100 %\n"):
        LiveOutput()(piece, is_stderr=is_stderr)

    assert stream.getvalue() == shown
