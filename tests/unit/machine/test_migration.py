"""A saved guest stands still where it is loaded, whatever had stopped it."""

from __future__ import annotations

import os
import tempfile

import pytest

from kmod_harness.machine.migration import _note_as_paused, commands_that_load


def section(state: bytes) -> bytes:
    """The stream's section of that name, with the size of QEMU's buffer."""
    head = b"\x04" + (7).to_bytes(4, "big") + b"\x0bglobalstate" + bytes(4) + (1).to_bytes(4, "big")
    return head + (len(state) + 1).to_bytes(4, "big") + state.ljust(100, b"\0")


def noted(stream: bytes) -> bytes:
    with tempfile.TemporaryFile() as file:
        file.write(stream)
        file.flush()
        _note_as_paused(file.fileno())
        return os.pread(file.fileno(), 1 << 24, 0)


@pytest.mark.parametrize("state", [b"debug", b"guest-panicked", b"paused", b"running", b"postmigrate"])
@pytest.mark.parametrize("ram", [b"", os.urandom(5 << 20)], ids=["short", "long"])
def test_the_state_in_a_stream_becomes_paused_and_nothing_else_changes(ram: bytes, state: bytes) -> None:
    behind = b'device state {"name": "globalstate"}'
    assert noted(ram + section(state) + behind) == ram + section(b"paused") + behind


def test_a_stream_without_it_stays_as_it_is() -> None:
    assert noted(b"no such section") == b"no such section"


@pytest.mark.parametrize(
    ("version", "uri"),
    [((7, 2), "fd:9"), ((8, 2), "file:/proc/self/fd/9"), ((11, 1), "file:/proc/self/fd/9")],
)
def test_a_state_is_loaded_as_that_qemu_can(version: tuple[int, int], uri: str) -> None:
    *_, (command, arguments) = commands_that_load(9, version)
    assert (command, arguments) == ("migrate-incoming", {"uri": uri})
