"""Guest memory packed: every byte comes back, zeros as holes, a damaged file is told."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.machine.memory.packed import PackedFileDamaged, pack, unpacked

PAGE = 4096


@given(st.lists(st.one_of(st.just(bytes(PAGE)), st.binary(min_size=1, max_size=PAGE)), max_size=20))
def test_what_is_packed_comes_back(parts: list[bytes]) -> None:
    data = b"".join(parts)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "packed"
        pack(io.BytesIO(data), path)
        with unpacked(path, Path(directory)) as file:
            assert file.read() == data


def test_zeros_become_holes_and_no_name_stays(tmp_path: Path) -> None:
    path = tmp_path / "packed"
    pack(io.BytesIO(b"head" + bytes(64 << 20) + b"tail"), path)
    with unpacked(path, tmp_path) as file:
        status = os.fstat(file.fileno())
        assert status.st_size == (64 << 20) + 8
        assert status.st_blocks * 512 < 1 << 20
        file.seek(-4, os.SEEK_END)
        assert file.read() == b"tail"
    assert [one.name for one in tmp_path.iterdir()] == ["packed"]
    assert path.stat().st_size < 1 << 16


@pytest.mark.parametrize("content", [b"", b"no zstd at all", b"\x28\xb5\x2f\xfd"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "packed"
    path.write_bytes(content)
    with pytest.raises(PackedFileDamaged, match="damaged"), unpacked(path, tmp_path):
        pass


def test_a_cut_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "packed"
    pack(io.BytesIO(os.urandom(4 << 20)), path)
    path.write_bytes(path.read_bytes()[: 2 << 20])
    with pytest.raises(PackedFileDamaged, match="damaged"), unpacked(path, tmp_path):
        pass
