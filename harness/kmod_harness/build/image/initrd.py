"""The initramfs that a guest boots: a root file system with the harness's archive behind it.

The kernel unpacks concatenated archives in order (init/initramfs.c, unpack_to_rootfs), so nothing in the
user's image is changed.
"""

from __future__ import annotations

import bz2
import lzma
import shutil
import stat
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from kmod_harness.build.cache import Cache, default_cache, digest_of, file_digest
from kmod_harness.build.cached_from_files import cached_from_files
from kmod_harness.build.image.cpio import (
    MAGIC,
    MAGIC_CRC,
    CpioError,
    character_device,
    directory,
    read_cpio,
    regular,
    write_cpio,
)
from kmod_harness.errors import Misuse

if TYPE_CHECKING:
    from kmod_harness.build.kernel.kernel import Kernel

ROOT = "kmod-harness"
#: Drivers of the harness's channels and of QEMU's notices to the guest; built in, modules, or absent.
CHANNEL_DRIVERS = (
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "virtio_rng",
    "virtio_blk",
    "pvpanic_pci",
    "vmgenid",
)
_EXPECTED = "expected a cpio archive in newc format, plain or compressed with gzip, xz, lzma or bzip2"
_CHUNK = 1 << 20
#: Bytes of the largest uncompressed root file system: a guest cannot have more RAM.
MAX_UNPACKED_BYTES = 8 << 30
_RAW = "rootfs.cpio"


class _Decompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


#: First bytes of a compressed archive -> a decompressor of one stream of it.
_FORMATS: tuple[tuple[bytes, Callable[[], _Decompressor]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    (b"\xfd7zXZ\0", lzma.LZMADecompressor),
    (b"\x5d\0\0", lzma.LZMADecompressor),
    (b"BZh", bz2.BZ2Decompressor),
)
#: First bytes of formats that only the kernel can decompress: passed on unchanged.
_OPAQUE = (b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"\x89LZO")  # zstd, legacy lz4, lzo


def harness_archive(
    agent: Path, channel_modules: Sequence[Path], root: tuple[str, str] | None = None
) -> bytes:
    """Returns the harness's archive: init and agent (one binary), modules of the channels.

    agent: the binary
    channel_modules: modules to load first, in order; `modules/order` lists them, and they are stored
        uncompressed
    root: block device and type of a root file system that init changes to, None to stay in the initramfs. The
        archive is then alone, and so holds what the kernel needs of an initramfs
    """
    binary = agent.read_bytes()
    modules = [(_plain_name(path), _module_bytes(path)) for path in channel_modules]
    entries = [
        directory(ROOT),
        directory(f"{ROOT}/modules"),
        regular(f"{ROOT}/agent", binary, 0o755),
        regular(f"{ROOT}/init", binary, 0o755),
        regular(f"{ROOT}/modules/order", "".join(f"{name}\n" for name, _ in modules).encode()),
        *(regular(f"{ROOT}/modules/{name}", data) for name, data in modules),
    ]
    if root is not None:
        entries += [
            directory("dev"),
            # before /dev is mounted, the kernel opens it for process 1 (init/main.c, console_on_rootfs)
            character_device("dev/console", 5, 1),
            directory(f"{ROOT}/mnt"),
            regular(f"{ROOT}/root", "".join(f"{word}\n" for word in root).encode()),
        ]
    return write_cpio(entries)


def combine(rootfs: Path, archive: bytes, destination: Path, *, cache: Cache | None = None) -> None:
    """Writes `rootfs` uncompressed, then `archive`, to `destination`.

    Raises Misuse when `rootfs` is missing, unreadable, truncated or not a cpio archive.
    """
    source = unpacked_rootfs(rootfs, cache=cache)
    with source.open("rb") as content, destination.open("wb") as out:
        shutil.copyfileobj(content, out, _CHUNK)
        # A compressed archive passed on as it is may end anywhere; a header starts at a multiple of 4.
        out.write(bytes(-out.tell() % 4))
        out.write(archive)


def unpacked_rootfs(rootfs: Path, *, cache: Cache | None = None) -> Path:
    """Returns the path of the uncompressed archive; in the guest, decompression would be many times slower.

    It is uncompressed once for its content. `rootfs` itself is returned for zstd, lz4 and lzo, which the
    guest's kernel decompresses.
    """
    kind = _first_bytes(rootfs)
    if kind.startswith((MAGIC, MAGIC_CRC, *_OPAQUE)):
        return rootfs
    for magic, decompressor in _FORMATS:
        if kind.startswith(magic):
            cache = cache or default_cache()

            def build(entry: Path, new: Callable[[], _Decompressor] = decompressor) -> dict[str, object]:
                with rootfs.open("rb") as file, (entry / _RAW).open("wb") as out:
                    _decompress(file, out, new, rootfs)
                return {"from": str(rootfs)}

            return cache.entry("initramfs", file_digest(rootfs)[:20], build) / _RAW
    raise Misuse(f"{rootfs} is not a root file system; {_EXPECTED}", evidence=f"it starts with {kind[:8]!r}")


def rootfs_paths(rootfs: Path, *, cache: Cache | None = None) -> dict[str, str]:
    """Returns the absolute paths in a root file system, each with the target of a symlink or "".

    Empty when only the guest's kernel can decompress the archive.
    """
    source = unpacked_rootfs(rootfs, cache=cache)
    if _first_bytes(source).startswith(_OPAQUE):
        return {}
    return cached_from_files("paths-1", [source], lambda: _paths_in(source, rootfs), cache)


def _paths_in(source: Path, rootfs: Path) -> dict[str, str]:
    try:
        return {
            "/" + entry.path.removeprefix("./").strip("/"): (
                entry.data.decode(errors="surrogateescape") if stat.S_ISLNK(entry.mode) else ""
            )
            for entry in read_cpio(source.read_bytes())
        }
    except CpioError as error:
        raise Misuse(f"{rootfs} is damaged; {_EXPECTED}", evidence=str(error)) from None


def channel_modules(
    kernel: Kernel, *, more: Sequence[str] = (), cache: Cache | None = None
) -> tuple[Path, ...]:
    """Returns the .ko files of the harness's channels, and of the drivers `more`, in load order.

    Empty for a kernel with these drivers built in, such as `minimal`.
    """
    if kernel.modules_dir is None:
        return ()
    cache = cache or default_cache()
    order = kernel.modules_dir / "modules.order"
    # Reading a dozen modules takes 0.2 s, so the list is kept, behind one more line: it may be empty.
    drivers = (*CHANNEL_DRIVERS, *more)
    known = f"channel-modules-2-{digest_of(str(order), str(order.stat().st_mtime_ns), *drivers)}"
    lines = cache.pointer(known).splitlines()
    if lines and all(Path(line).is_file() for line in lines):
        return tuple(Path(line) for line in lines[1:])
    files = _modules_of(drivers, kernel)
    cache.note(known, "\n".join(map(str, (order, *files))))
    return files


def _modules_of(drivers: Sequence[str], kernel: Kernel) -> tuple[Path, ...]:
    from kmod_harness.build.kernel.own_modules import own_modules  # lazy
    from kmod_harness.kmod.elf.module import read_module  # lazy
    from kmod_harness.kmod.loading.plan import plan_loading  # lazy

    own = own_modules(kernel)
    wanted = [read_module(own.files[driver]) for driver in drivers if driver in own.files]
    return tuple(module.path for module in plan_loading(wanted, own, read=read_module).modules)


def _plain_name(path: Path) -> str:
    return path.name.removesuffix(".xz").removesuffix(".gz").removesuffix(".zst")


def _module_bytes(path: Path) -> bytes:
    from kmod_harness.kmod.elf.module import read_module  # lazy

    return path.read_bytes() if path.suffix == ".ko" else read_module(path).data


def _first_bytes(rootfs: Path) -> bytes:
    try:
        with rootfs.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise Misuse(f"cannot read the root file system {rootfs}; {_EXPECTED}", evidence=str(error)) from None
    if not head:
        raise Misuse(f"the root file system {rootfs} is empty; {_EXPECTED}")
    return head


def _decompress(file: BinaryIO, out: BinaryIO, new: Callable[[], _Decompressor], rootfs: Path) -> None:
    """Copies every stream of `file` decompressed, and data behind the last one unchanged."""
    stream = new()
    written = 0
    pending = b""
    try:
        while data := pending or file.read(_CHUNK):
            plain = stream.decompress(data)
            pending = b""
            if written == 0 and plain and not plain.startswith((MAGIC, MAGIC_CRC)):
                raise Misuse(f"{rootfs} holds no cpio archive in newc format; {_EXPECTED}")
            out.write(plain)
            written += len(plain)
            if written > MAX_UNPACKED_BYTES:
                raise Misuse(f"{rootfs} unpacks to more than {MAX_UNPACKED_BYTES} bytes")
            if not stream.eof:
                continue
            rest = stream.unused_data.lstrip(b"\0") or file.read(_CHUNK).lstrip(b"\0")
            if not rest:
                return
            out.write(bytes(-written % 4))
            written += -written % 4
            if rest.startswith((MAGIC, MAGIC_CRC, *_OPAQUE)):
                out.write(rest)
                shutil.copyfileobj(file, out, _CHUNK)
                return
            stream, pending = new(), rest
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise Misuse(f"{rootfs} is damaged; {_EXPECTED}", evidence=str(error)) from None
    raise Misuse(f"{rootfs} is truncated: its compressed data ends too early; {_EXPECTED}")
