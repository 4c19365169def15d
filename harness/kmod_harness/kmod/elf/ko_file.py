"""The bytes of a .ko file, read with care and decompressed within bounds."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import struct
import zlib
from pathlib import Path
from typing import Protocol

from kmod_harness.errors import ModuleFileError

#: Bytes of the largest module read, after decompression: a decompression bomb cannot fill memory.
MAX_MODULE_BYTES = 1 << 30


class Stream(Protocol):
    """A stream of decompressed bytes."""

    def read(self, size: int, /) -> bytes: ...


def module_bytes(path: Path) -> bytes:
    """Returns the file's bytes, decompressed if it was compressed (`make modules_install`: xz, gzip, zstd).

    Raises ModuleFileError: no such file, not readable, not a regular file, too large, damaged.
    """
    return _decompressed(_file_bytes(path), path)


def _file_bytes(path: Path) -> bytes:
    expected = "expected a kernel module (.ko)"
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ModuleFileError(f"{path} is a directory; {expected}")
        if not stat.S_ISREG(status.st_mode):
            raise ModuleFileError(f"{path} is not a regular file; {expected}")
        if status.st_size > MAX_MODULE_BYTES:
            raise ModuleFileError(f"{path} has {status.st_size} bytes, too many for a module; {expected}")
        return path.read_bytes()
    except FileNotFoundError:
        raise ModuleFileError(f"{path}: no such file; {expected}") from None
    except PermissionError:
        raise ModuleFileError(f"{path}: no permission to read it; {expected}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise ModuleFileError(f"{path}: cannot be read; {expected}", evidence=str(error)) from None


def _decompressed(data: bytes, path: Path) -> bytes:
    """Undoes the compression of modules_install, which is recognised by its magic, not by the file's name."""
    try:
        if data.startswith(b"\xfd7zXZ\x00"):
            return _bounded(lzma.LZMAFile(io.BytesIO(data)), path)
        if data.startswith(b"\x1f\x8b"):
            return _bounded(gzip.GzipFile(fileobj=io.BytesIO(data)), path)
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            return _unpacked_zstd(data, path)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError, struct.error) as error:
        raise damaged(path, f"decompression failed: {error}") from error
    return data


def _unpacked_zstd(data: bytes, path: Path) -> bytes:
    import zstandard  # lazy: most modules are not compressed so

    decompressor = zstandard.ZstdDecompressor()
    try:
        if 0 <= zstandard.frame_content_size(data) <= MAX_MODULE_BYTES:
            return decompressor.decompress(data)
        # of an unknown or an impossible size
        return _bounded(decompressor.stream_reader(io.BytesIO(data)), path)
    except zstandard.ZstdError as error:
        raise damaged(path, f"decompression failed: {error}") from error


def _bounded(stream: Stream, path: Path) -> bytes:
    data = stream.read(MAX_MODULE_BYTES + 1)
    if len(data) > MAX_MODULE_BYTES:
        raise ModuleFileError(f"{path} decompresses to more than {MAX_MODULE_BYTES} bytes; not a module")
    return data


def damaged(path: Path, evidence: str) -> ModuleFileError:
    """Returns the error for a file that starts like a module and does not continue like one."""
    return ModuleFileError(
        f"{path} is damaged or truncated; expected a whole kernel module (.ko)",
        evidence=evidence,
        advice="build or copy it again",
    )


def refuse_other_kinds(data: bytes, path: Path) -> None:
    """Raises ModuleFileError for the common mistakes, by the ELF header alone (System V ABI, chapter 4)."""
    expected = "expected a kernel module (.ko): an ELF relocatable object for x86-64"
    if not data:
        raise ModuleFileError(f"{path} is empty; {expected}")
    if not data.startswith(b"\x7fELF"):
        raise ModuleFileError(
            f"{path} is not an ELF file; {expected}", evidence=f"it starts with {data[:16]!r}"
        )
    if len(data) < 64:
        raise damaged(path, f"an ELF header has 64 bytes, the file has {len(data)}")
    if data[4] != 2 or data[5] != 1:
        raise ModuleFileError(
            f"{path} is an ELF file of another class (32-bit or big-endian); {expected}",
            evidence=f"EI_CLASS {data[4]}, EI_DATA {data[5]}",
        )
    kind, machine = struct.unpack_from("<HH", data, 16)
    if machine != 62:  # EM_X86_64
        raise ModuleFileError(f"{path} is for another machine; {expected}", evidence=f"e_machine {machine}")
    names = {2: "an executable", 3: "a shared object or position-independent executable", 4: "a core dump"}
    if kind != 1:  # ET_REL
        raise ModuleFileError(f"{path} is {names.get(kind, 'an ELF file of another type')}; {expected}")
    offset, entry_size, count = struct.unpack_from("<Q10xHH", data, 40)
    if count and offset + entry_size * count > len(data):
        raise damaged(
            path, f"section headers end at byte {offset + entry_size * count}, the file has {len(data)} bytes"
        )
