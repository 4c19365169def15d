"""The settings of a repository as options of a command line: the same names, the same words."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmod_harness.repository.settings import Repository

#: Options that name a kernel together: one that is given leaves nothing of the other.
_KERNEL = frozenset(("kernel", "kconfig"))


def options_said(repository: Repository, given: Collection[str]) -> dict[str, object]:
    """Return option -> what the file says, for options that are not given; a list where one may be repeated.

    >>> from kmod_harness.repository.settings import Repository
    >>> options_said(Repository(timeout=5.0), ["cpus"])
    {'timeout': 5.0}
    """
    machine = repository.machine
    said: dict[str, object] = {
        "kernel": machine.kernel,
        "kconfig": machine.kconfig,
        "rootfs": machine.rootfs,
        "disk": machine.disks,
        "append": machine.append,
        "cpus": machine.cpus,
        "memory": f"{machine.memory_mib}M" if machine.memory_mib is not None else None,
        "device": machine.devices,
        "qemu-arg": machine.qemu_args,
        "firmware": machine.firmware,
        "boot-timeout": repository.boot_timeout,
        "timeout": repository.timeout,
        "allow-splat": repository.allowed or None,
    }
    void = _KERNEL if _KERNEL & set(given) else frozenset()
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in said.items()
        if value is not None and name not in given and name not in void
    }
