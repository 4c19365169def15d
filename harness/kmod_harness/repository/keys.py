"""The keys of kmod-harness.toml: their names, what each takes, and how its value is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kmod_harness.host.resources import fragment_names
from kmod_harness.repository.allowed import read_allowed
from kmod_harness.repository.wrong_value import WrongValue, shown
from kmod_harness.spec.kernel_name import parse_kernel_name
from kmod_harness.spec.spec import ROOTFS_NAMES, Spec, SpecError, parse_disk, parse_size_mib

T = TypeVar("T")

#: The most seconds a limit may have, as on the command line.
_MOST_SECONDS = 86400 * 20


#: Returns the setting for a value of the file, whose directory is given. Raises WrongValue.
Read = Callable[[object, Path], object]


@dataclass(frozen=True)
class Key:
    """A key, dotted as in `modules.load`; setting: the field of the dataclass it fills."""

    name: str
    setting: str
    read: Read


def _text(value: object, expected: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise WrongValue(f"takes {expected}, not {shown(value)}")
    return value


def _texts(value: object, expected: str) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else None
    if texts is None or not all(isinstance(text, str) and text and "\0" not in text for text in texts):
        raise WrongValue(f"takes a list of {expected}, not {shown(value)}")
    return tuple(texts)


def _path(text: str, directory: Path) -> str:
    return os.path.normpath(directory / text)


def _kernel(value: object, directory: Path) -> str:
    name = _text(value, 'a kernel: "minimal", "minimal@6.12", "debian", "debian@trixie", "host", or a path')
    try:
        return name if parse_kernel_name(name) else _path(name, directory)
    except ValueError as error:
        raise WrongValue(str(error)) from None


def _rootfs(value: object, directory: Path) -> str:
    name = _text(value, 'a root file system: "embedded", "buildroot", "buildroot-ext4", or a path')
    return name if name in ROOTFS_NAMES else _path(name, directory)


def _kconfig(value: object, directory: Path) -> tuple[str, ...]:
    names = _texts(value, 'Kconfig fragments, as ["debug", "my.config"]')
    known = fragment_names() if names else ()
    return tuple(name if name in known else _path(name, directory) for name in names)


def _cpus(value: object, directory: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongValue(f"takes a whole number, not {shown(value)}")
    return _as_spec_takes(value, lambda: Spec(cpus=value).cpus)


def _memory(value: object, directory: Path) -> int:
    size = _text(value, 'a size, as "512M" or "2G"')
    return _as_spec_takes(value, lambda: Spec(memory_mib=parse_size_mib(size)).memory_mib)


def _append(value: object, directory: Path) -> tuple[str, ...]:
    texts = _texts(value, 'words for the kernel\'s command line, as ["loglevel=7"]')
    return tuple(word for text in texts for word in text.split())


def _disk(value: object, directory: Path) -> tuple[str, ...]:
    disks = _texts(value, 'disks, as ["disk.img", "root.qcow2,ro"]')
    _as_spec_takes(value, lambda: [parse_disk(disk) for disk in disks])
    return tuple(_path(disk, directory) for disk in disks)


def _device(value: object, directory: Path) -> tuple[str, ...]:
    return _texts(value, 'arguments of QEMU\'s -device, as ["edu"]')


def _qemu_arg(value: object, directory: Path) -> tuple[str, ...]:
    return _texts(value, 'arguments of QEMU, as ["-rtc", "base=utc"]')


def _firmware(value: object, directory: Path) -> str:
    return _path(_text(value, "the path of a BIOS image"), directory)


def _seconds(value: object, directory: Path) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MOST_SECONDS:
        return float(value)
    raise WrongValue(f"takes a number of seconds above 0, not {shown(value)}")


def _directories(value: object, directory: Path) -> tuple[Path, ...]:
    names = _texts(value, 'directories that kbuild builds, as ["."]')
    return tuple(Path(_path(name, directory)) for name in names)


def _command(value: object, directory: Path) -> str:
    return _text(value, 'a shell command, as "make KDIR=$KERNEL_DIR"')


def _modules(value: object, directory: Path) -> tuple[Path, ...]:
    names = _texts(value, '.ko files, as ["hello.ko"]')
    odd = [name for name in names if ".ko" not in Path(name).name]
    if odd:
        raise WrongValue(f"takes .ko files, not {shown(odd[0])}")
    return tuple(Path(_path(name, directory)) for name in names)


def _as_spec_takes(value: object, read: Callable[[], T]) -> T:
    try:
        return read()
    except SpecError as error:
        raise WrongValue(f"cannot be {shown(value)}: {error}") from None


#: Of the machine, at the top of the file.
MACHINE_KEYS = (
    Key("kernel", "kernel", _kernel),
    Key("kconfig", "kconfig", _kconfig),
    Key("rootfs", "rootfs", _rootfs),
    Key("append", "append", _append),
    Key("cpus", "cpus", _cpus),
    Key("memory", "memory_mib", _memory),
    Key("disk", "disks", _disk),
    Key("device", "devices", _device),
    Key("qemu-arg", "qemu_args", _qemu_arg),
    Key("firmware", "firmware", _firmware),
)
#: Of the limits, at the top of the file.
LIMIT_KEYS = (
    Key("boot-timeout", "boot_timeout", _seconds),
    Key("timeout", "timeout", _seconds),
)
#: Of the reports that may come, each a table [[allow]].
ALLOWED_KEYS = (Key("allow", "allowed", read_allowed),)
#: Of the table [modules].
MODULE_KEYS = (
    Key("modules.kbuild", "kbuild", _directories),
    Key("modules.build", "build", _command),
    Key("modules.load", "load", _modules),
)
