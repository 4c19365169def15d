"""The bytes of a .ko file as it lies on disk: opened with care, decompressed within bounds."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import struct
import zlib
from pathlib import Path

from kmod_harness.errors import ModuleFileError

#: Largest module read, in bytes, after decompression: keeps a decompression bomb from filling memory.
MAX_MODULE_BYTES = 1 << 30


def module_bytes(path: Path) -> bytes:
    """Reads the file; what xz or gzip compressed (`make modules_install`) is decompressed.

    Raises ModuleFileError: no such file, not readable, not a regular file, too large, damaged, zstd.
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
    """Undoes what modules_install may have done to a .ko; told by magic, not by the file's name."""
    try:
        if data.startswith(b"\xfd7zXZ\x00"):
            return _bounded(lzma.LZMAFile(io.BytesIO(data)), path)
        if data.startswith(b"\x1f\x8b"):
            return _bounded(gzip.GzipFile(fileobj=io.BytesIO(data)), path)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError, struct.error) as error:
        raise damaged(path, f"decompression failed: {error}") from error
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        raise ModuleFileError(
            f"{path} is compressed with zstd, which Python's standard library does not read",
            advice=f"zstd -d {path}",
        )
    return data


def _bounded(stream: io.BufferedIOBase, path: Path) -> bytes:
    data = stream.read(MAX_MODULE_BYTES + 1)
    if len(data) > MAX_MODULE_BYTES:
        raise ModuleFileError(f"{path} decompresses to more than {MAX_MODULE_BYTES} bytes; not a module")
    return data


def damaged(path: Path, evidence: str) -> ModuleFileError:
    """The error for a file whose beginning is a module's and whose rest is not."""
    return ModuleFileError(
        f"{path} is damaged or truncated; expected a whole kernel module (.ko)",
        evidence=evidence,
        advice="build or copy it again",
    )
