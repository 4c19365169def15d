"""The kernel's own modules as an archive for the initramfs: /lib/modules/RELEASE, as modprobe reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kmod_harness.build.image.cpio import CpioEntry, regular, write_cpio
from kmod_harness.errors import Misuse
from kmod_harness.kmod.elf.ko_file import module_bytes
from kmod_harness.kmod.elf.module import read_modinfo
from kmod_harness.kmod.loading.depmod_files import Softdeps, format_builtin, softdeps_of
from kmod_harness.kmod.loading.modprobe_lists import MARK, Listed, modprobe_lists
from kmod_harness.kmod.loading.names import plain
from kmod_harness.kmod.loading.own_modules import OwnModules

_MIB = 1 << 20
#: Changes when the archive is made in another way.
_RECIPE = "1"
#: MiB that a guest needs beside its modules, which are there twice while the kernel unpacks them.
_REST_MIB = 128


def own_modules_archive(own: OwnModules, paths: Mapping[str, str]) -> bytes:
    """Returns the archive with all of a kernel's own modules; b"" where the image has them itself.

    paths: the image's absolute paths, each with a symlink's target or ""; its /lib may be a symlink
    """
    base = f"{paths.get('/lib', '').strip('/') or 'lib'}/modules/{own.kernel}"
    if f"/{base}/modules.dep" in paths:
        return b""
    entries: list[CpioEntry] = [regular(f"{base}/{MARK}", b"")]
    listed: dict[str, Listed] = {}
    aliases: dict[str, list[str]] = {}
    for alias in own.aliases():
        aliases.setdefault(alias.module, []).append(alias.pattern)
    for name, path in own.files.items():
        file = own.file_in_guest(name)
        # what BusyBox can unpack stays as it is, which saves the guest's memory
        entries.append(
            regular(f"{base}/{file}", path.read_bytes() if file.endswith(path.suffix) else module_bytes(path))
        )
        listed[name] = _listed(name, file, own, aliases.get(name, ()))
    texts = {**modprobe_lists(listed), "modules.builtin": format_builtin(own.built_in)}
    return write_cpio([*entries, *(regular(f"{base}/{file}", text.encode()) for file, text in texts.items())])


def modules_identity(own: OwnModules) -> tuple[str, ...]:
    """Returns words that change when another archive would be made.

    Raises Misuse for a kernel without modules of its own.
    """
    if not own.files:
        raise Misuse(
            f"the kernel {own.kernel} comes without modules of its own, so that there are none for modprobe",
            advice="leave out --modules all, or --kernel debian for its modules",
        )
    lists = (own.directory / name for name in ("modules.order", "modules.dep"))
    return (_RECIPE, *(f"{path} {path.stat().st_mtime_ns}" for path in lists if path.is_file()))


def require_memory(initrd: Path, memory_mib: int) -> None:
    """Raises Misuse for a guest that is too small for an initramfs with all modules."""
    size = initrd.stat().st_size // _MIB
    wanted = 2 * size + _REST_MIB
    if memory_mib < wanted:
        raise Misuse(
            f"{memory_mib} MiB of memory are too few for all modules",
            evidence=f"the guest's files take {size} MiB, and twice that while it boots",
            advice=f"--memory {(wanted + 127) // 128 * 128}M, or without --modules all",
        )


def _listed(name: str, file: str, own: OwnModules, aliases: Sequence[str]) -> Listed:
    modinfo = read_modinfo(own.files[name])
    told = next((value for tag, value in modinfo if tag == "depends"), "")
    return Listed(
        file=file,
        needs=own.depends.get(name) or tuple(plain(needed) for needed in told.split(",") if needed),
        aliases=tuple(aliases),
        softdeps=softdeps_of(modinfo) + own.softdeps.get(name, Softdeps()),
    )
