"""Modules that the kernel never unloads."""

from __future__ import annotations

from kmod_harness.kmod.elf.module import KernelModule


def has_no_exit(module: KernelModule) -> bool:
    """Returns whether it has an init and no exit (delete_module, kernel/module/main.c, 6.1)."""
    names = {symbol.name for symbol in module.symbols}
    return "init_module" in names and "cleanup_module" not in names
