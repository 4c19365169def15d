"""An open file of the guest: buffers that change in place, mappings that go with it."""

from __future__ import annotations

import array
import ctypes
import os
import struct

import pytest

from kmod_harness.guest.guest import Guest

TIOCGWINSZ, TIOCSWINSZ = 0x5413, 0x5414


class WindowSize(ctypes.Structure):
    """struct winsize (include/uapi/asm-generic/termios.h)."""

    _fields_ = [(name, ctypes.c_ushort) for name in ("rows", "columns", "x", "y")]


def test_an_ioctl_changes_a_buffer_in_place(guest: Guest) -> None:
    with guest.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY) as terminal:
        assert terminal.ioctl(TIOCSWINSZ, struct.pack("<4H", 40, 100, 0, 0)) == 0
        size, data, words = WindowSize(), bytearray(8), array.array("H", [0] * 4)
        assert [terminal.ioctl(TIOCGWINSZ, buffer) for buffer in (size, data, words)] == [0, 0, 0]
    assert (size.rows, size.columns) == (40, 100)
    assert struct.unpack("<4H", data) == tuple(words) == (40, 100, 0, 0)


def test_what_is_no_buffer_is_refused_as_such(guest: Guest) -> None:
    with guest.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY) as terminal, pytest.raises(TypeError):
        terminal.ioctl(TIOCGWINSZ, object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an int, bytes, or a buffer"):
        guest.syscaller.call("read", 0, "text", 4)  # type: ignore[arg-type]


def test_a_mapping_ends_with_its_file_or_before(guest: Guest) -> None:
    guest.write_file("/tmp/mapped", b"asdf" * 2048)

    def is_mapped() -> bool:
        return "/tmp/mapped" in guest.syscaller.read_text("/proc/self/maps")

    with guest.open("/tmp/mapped", os.O_RDWR) as file:
        first, second = file.mmap(4096), file.mmap(4096, offset=4096)
        assert file.process.peek(first, 4) == file.process.peek(second, 4) == b"asdf"
        file.munmap(first)
        assert is_mapped()
    assert not is_mapped()
