"""The settings of `kmod-harness.toml` as data; paths are absolute, a setting left out is None or empty."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class MachineDefaults:
    """The machine to boot, by the names of Spec's fields; None where the file says nothing.

    memory_mib: guest RAM in MiB.
    """

    kernel: str | None = None
    kconfig: tuple[str, ...] | None = None
    rootfs: str | None = None
    append: tuple[str, ...] | None = None
    cpus: int | None = None
    memory_mib: int | None = None
    disks: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    qemu_args: tuple[str, ...] | None = None
    firmware: str | None = None


@dataclass(frozen=True)
class RepositoryModules:
    """The repository's modules: how they are built, and which are loaded.

    kbuild: directories whose modules kbuild builds.
    build: a shell command that builds them instead, run in the file's directory.
    load: the .ko files to load; () for all that kbuild builds.
    """

    kbuild: tuple[Path, ...] = ()
    build: str = ""
    load: tuple[Path, ...] = ()

    @property
    def are_said(self) -> bool:
        """Whether there is anything to build or to load."""
        return bool(self.kbuild or self.build or self.load)


@dataclass(frozen=True)
class Repository:
    """The settings of the file. file: its path, None where there is none.

    boot_timeout, timeout: seconds, None where the file says nothing. allowed: reports that may come, as
    --allow-splat takes them.
    """

    file: Path | None = None
    machine: MachineDefaults = field(default_factory=MachineDefaults)
    boot_timeout: float | None = None
    timeout: float | None = None
    modules: RepositoryModules = field(default_factory=RepositoryModules)
    allowed: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """The directory that the file's paths are relative to, and its build command runs in."""
        return self.file.parent if self.file is not None else Path()
