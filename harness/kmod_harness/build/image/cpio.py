"""The archive format of the kernel's initramfs, cpio "newc": reproducible writing, and reading.

Source of the format: Documentation/driver-api/early-userspace/buffer-format.rst (Linux 6.1) and its reader,
init/initramfs.c. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAGIC = b"070701"
#: The same format with a checksum, which the kernel reads too.
MAGIC_CRC = b"070702"
_HEADER_BYTES = 110
_TRAILER = "TRAILER!!!"
#: PATH_MAX of the kernel, the closing NUL included (init/initramfs.c: N_ALIGN, do_header).
_PATH_MAX = 4096


class CpioError(ValueError):
    """Bytes that are not a cpio "newc" archive, or an entry that an archive cannot hold."""


@dataclass(frozen=True)
class CpioEntry:
    """One file system object.

    path: relative path
    mode: type and permissions
    data: content of a file, or target of a symlink
    device: major and minor number of a device node
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str, permissions: int = 0o755) -> CpioEntry:
    return CpioEntry(path, stat.S_IFDIR | permissions)


def regular(path: str, data: bytes, permissions: int = 0o644) -> CpioEntry:
    return CpioEntry(path, stat.S_IFREG | permissions, data)


def symlink(path: str, target: str) -> CpioEntry:
    return CpioEntry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> CpioEntry:
    return CpioEntry(path, stat.S_IFCHR | permissions, device=(major, minor))


def write_cpio(entries: Iterable[CpioEntry]) -> bytes:
    """Returns the archive: sorted, owned by root, times 0, so that equal entries give equal bytes.

    Missing parent directories are added. Raises CpioError for two entries of one path, a path outside the
    root, or a number that does not fit its field.
    """
    by_path: dict[str, CpioEntry] = {}
    for entry in entries:
        _check_path(entry.path)
        if entry.path in by_path:
            raise CpioError(f"two entries for {entry.path}")
        by_path[entry.path] = entry
    for path in tuple(by_path):
        for parent in _parents(path):
            known = by_path.setdefault(parent, directory(parent))
            if not stat.S_ISDIR(known.mode):
                raise CpioError(f"{path} lies in {parent}, which is no directory")
    ordered = sorted(by_path.values(), key=lambda entry: entry.path.split("/"))
    records = [_record(entry, inode) for inode, entry in enumerate(ordered, start=1)]
    records.append(_record(CpioEntry(_TRAILER, 0), 0))
    return _padded(b"".join(records), 512)


def read_cpio(archive: bytes) -> Iterator[CpioEntry]:
    """Yields the entries of one or several concatenated archives, as the kernel would unpack them.

    Further hard links of a file carry no data. Raises CpioError where the kernel would stop; other data
    behind zero padding (a compressed archive) ends the iteration.
    """
    offset = 0
    while True:
        while archive[offset : offset + 4] == b"\0\0\0\0":
            offset += 4
        header = archive[offset : offset + _HEADER_BYTES]
        if header[:6] not in (MAGIC, MAGIC_CRC):
            if offset == 0:
                raise CpioError("no cpio newc header (070701) at the start")
            return
        if len(header) < _HEADER_BYTES:
            raise CpioError(f"truncated header at byte {offset}")
        try:
            fields = [int(header[at : at + 8], 16) for at in range(6, _HEADER_BYTES, 8)]
        except ValueError:
            raise CpioError(f"a header field at byte {offset} is not hexadecimal") from None
        mode, size, major, minor, name_size = fields[1], fields[6], fields[9], fields[10], fields[11]
        name_end = offset + _HEADER_BYTES + name_size
        data_start = name_end + -name_end % 4
        if not 0 < name_size <= _PATH_MAX or data_start + size > len(archive):
            raise CpioError(f"truncated entry at byte {offset}")
        name = archive[offset + _HEADER_BYTES : name_end - 1].decode(errors="surrogateescape")
        offset = data_start + size + -size % 4
        if name != _TRAILER:
            yield CpioEntry(name, mode, archive[data_start : data_start + size], (major, minor))


def _record(entry: CpioEntry, inode: int) -> bytes:
    name = entry.path.encode(errors="surrogateescape") + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    major, minor = entry.device
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, major, minor, len(name), 0)
    if any(not 0 <= field <= 0xFFFFFFFF for field in fields):
        raise CpioError(f"a number of {entry.path} does not fit 32 bits")
    header = MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name, 4) + _padded(entry.data, 4)


def _check_path(path: str) -> None:
    parts = path.split("/")
    if path == ".":  # the root directory itself
        return
    if not path or path == _TRAILER or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise CpioError(f"not a path inside an archive: {path!r}")
    if len(path.encode(errors="surrogateescape")) >= _PATH_MAX:
        raise CpioError(f"a path of {_PATH_MAX} bytes or more: {path[:60]!r}...")


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])


def _padded(data: bytes, alignment: int) -> bytes:
    return data + bytes(-len(data) % alignment)
