"""Comparison of a vmlinux with the running kernel: its notes, with the build-id, and those in memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.errors import Misuse
from kmod_harness.machine.memory.page_tables import UnmappedAddress
from kmod_harness.machine.memory.physical import NotInRam

_NOTE = struct.Struct("<III")
_BUILD_ID = 3  # NT_GNU_BUILD_ID (elf.h)
#: Bytes of notes above which a file is refused; a kernel has less than 1 KiB.
_LARGEST_NOTES = 1 << 16


class VmlinuxMismatch(Misuse):
    """The vmlinux is not that of the running kernel, or cannot be compared with it."""


@dataclass(frozen=True)
class VmlinuxNotes:
    """The section .notes of a vmlinux.

    address: linked address
    data: its bytes
    """

    address: int
    data: bytes


def build_id_of(notes: bytes) -> bytes:
    """Returns the build-id in ELF notes (a .notes section, /sys/kernel/notes), b"" without one.

    Bytes that are not notes have none (gABI, "Note Section": three words, name and content padded to 4).
    """
    at = 0
    while at + _NOTE.size <= len(notes):
        name_size, size, kind = _NOTE.unpack_from(notes, at)
        name = at + _NOTE.size
        content = name + (name_size + 3) // 4 * 4
        at = content + (size + 3) // 4 * 4
        if kind == _BUILD_ID and notes[name : name + name_size] == b"GNU\0":
            found = notes[content : content + size]
            return found if len(found) == size else b""
    return b""


def read_vmlinux_notes(path: Path) -> VmlinuxNotes:
    """Returns the notes of a vmlinux. Raises VmlinuxMismatch for a file without them."""
    from elftools.common.exceptions import ELFError  # lazy
    from elftools.elf.elffile import ELFFile  # lazy

    try:
        with open(path, "rb") as file:
            section = ELFFile(file).get_section_by_name(".notes")
            if section is not None and section["sh_size"] <= _LARGEST_NOTES:
                return VmlinuxNotes(section["sh_addr"], section.data())
    except (OSError, ELFError, ValueError) as error:
        raise VmlinuxMismatch(f"{path} is not a vmlinux: {error}") from error
    raise VmlinuxMismatch(
        f"{path} has no notes", advice="give the vmlinux of the build: not a bzImage, and not stripped"
    )


def check_vmlinux(read_virtual: Callable[[int, int], bytes], path: Path, slide: int) -> bytes:
    """Returns the build-id that a vmlinux and the running kernel share.

    read_virtual: function that reads the stopped guest's memory, as GuestMemory's
    path: path of the vmlinux
    slide: KASLR's slide in bytes

    Raises VmlinuxMismatch with both build-ids.
    """
    notes = read_vmlinux_notes(path)
    wanted = build_id_of(notes.data)
    if not wanted:
        raise VmlinuxMismatch(
            f"{path} has no build-id, by which it could be compared with the running kernel",
            advice="link the kernel with --build-id, as its own Makefile does",
        )
    try:
        found = build_id_of(read_virtual(notes.address + slide, len(notes.data)))
    except (UnmappedAddress, NotInRam):
        found = b""
    if found != wanted:
        there = (
            found.hex() if found else f"no build-id at {notes.address + slide:#x}, where this vmlinux has it"
        )
        raise VmlinuxMismatch(
            f"{path} is not the running kernel's vmlinux",
            evidence=f"vmlinux: {wanted.hex()}\nmemory:  {there}",
            advice="give the vmlinux of the build that was booted",
        )
    return wanted
