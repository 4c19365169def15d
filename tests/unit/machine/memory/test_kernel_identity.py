"""Whose vmlinux a running kernel's is."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.machine.memory.kernel_identity import (
    VmlinuxMismatch,
    build_id_of,
    check_vmlinux,
    read_vmlinux_notes,
)
from kmod_harness.machine.memory.page_tables import UnmappedAddress

pytestmark = pytest.mark.needs("gcc")


def note(name: bytes, kind: int, content: bytes) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack("<III", len(name), len(content), kind) + padded(name) + padded(content)


class TestIdentity:
    BUILD_ID = bytes(range(20))
    NOTES = note(b"Xen\0", 6, b"linux\0") + note(b"GNU\0", 3, BUILD_ID) + note(b"Linux\0", 0, b"")

    def vmlinux(self, directory: Path, notes: bytes) -> Path:
        data = ",".join(map(str, notes))
        source = f'.section .notes,"a",@note\n.byte {data}\n' if notes else ".text\nnop\n"
        path = directory / "vmlinux"
        argv = ["gcc", "-c", "-x", "assembler", "-", "-o", str(path)]
        subprocess.run(argv, input=source.encode(), check=True)
        return path

    def test_the_build_id_is_found_among_the_notes(self) -> None:
        assert build_id_of(self.NOTES) == self.BUILD_ID
        assert build_id_of(note(b"GNU\0", 1, self.BUILD_ID) + note(b"Gnu\0", 3, self.BUILD_ID)) == b""

    @given(st.binary(max_size=200))
    def test_any_bytes_have_one_or_none(self, data: bytes) -> None:
        assert build_id_of(data) in data

    def test_the_running_kernels_vmlinux_is_accepted(self, tmp_path: Path) -> None:
        path = self.vmlinux(tmp_path, self.NOTES)
        assert read_vmlinux_notes(path).data == self.NOTES
        assert (
            check_vmlinux(lambda at, size: (bytes(64) + self.NOTES)[at : at + size], path, 64)
            == self.BUILD_ID
        )

    def test_another_kernels_is_refused_with_both_build_ids(self, tmp_path: Path) -> None:
        path = self.vmlinux(tmp_path, self.NOTES)
        other = self.NOTES.replace(self.BUILD_ID, self.BUILD_ID[::-1])
        with pytest.raises(VmlinuxMismatch) as error:
            check_vmlinux(lambda at, size: other, path, 0)
        assert self.BUILD_ID.hex() in error.value.evidence
        assert self.BUILD_ID[::-1].hex() in error.value.evidence

    def test_where_nothing_is_mapped_there_is_another_kernel(self, tmp_path: Path) -> None:
        def read(address: int, size: int) -> bytes:
            raise UnmappedAddress(address)

        with pytest.raises(VmlinuxMismatch, match="not the running kernel's"):
            check_vmlinux(read, self.vmlinux(tmp_path, self.NOTES), 0)

    def test_what_cannot_tell_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(VmlinuxMismatch, match="has no build-id"):
            check_vmlinux(lambda at, size: b"", self.vmlinux(tmp_path, note(b"GNU\0", 1, b"abcd")), 0)
        with pytest.raises(VmlinuxMismatch, match="has no notes"):
            read_vmlinux_notes(self.vmlinux(tmp_path, b""))
        with pytest.raises(VmlinuxMismatch, match="is not a vmlinux"):
            read_vmlinux_notes(Path(__file__))
        with pytest.raises(VmlinuxMismatch, match="is not a vmlinux"):
            read_vmlinux_notes(tmp_path / "missing")
