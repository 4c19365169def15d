"""A module of a given release, compiled in a given directory."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kmod_harness.kmod.elf.module import KernelModule, read_module

_SOURCE = """
__attribute__((section(".modinfo"), used, aligned(1))) static const char name[] = "name=my";
__attribute__((section(".modinfo"), used, aligned(1))) static const char vermagic[] = "vermagic={} SMP ";
__attribute__((section(".gnu.linkonce.this_module"), used)) char __this_module[64];
"""


def module_of(directory: Path, release: str, *flags: str) -> KernelModule:
    """Returns a module whose vermagic names `release`, compiled by gcc with `directory` as its own."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "my.c").write_text(_SOURCE.format(release))
    subprocess.run(["gcc", *flags, "-c", "-o", "my.ko", "my.c"], cwd=directory, check=True)
    return read_module(directory / "my.ko")
