"""Modules and kernels' own modules made of a few words, for the tests of plans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kmod_harness.kmod.elf.module import KernelModule, UndefinedSymbol
from kmod_harness.kmod.loading.names import Alias
from kmod_harness.kmod.loading.own_modules import OwnModules


def module(
    name: str,
    *depends: str,
    softdep: str = "",
    uses: tuple[str, ...] = (),
    exports: tuple[str, ...] = (),
    where: str = "",
) -> KernelModule:
    """Returns a module as its .ko tells it; `where` is a directory for its path."""
    return KernelModule(
        path=Path(where, f"{name}.ko"), name=name, vermagic="6.1.0 SMP ", depends=depends, parameters={},
        parameter_descriptions={}, license="GPL", description="", aliases=(),
        modinfo=(("softdep", softdep),) if softdep else (), sections=(), symbols=(),
        undefined=tuple(UndefinedSymbol(symbol, weak=False) for symbol in uses),
        exports=dict.fromkeys(exports, False), versions={}, has_debug_info=False, build_id="", data=b"",
    )  # fmt: skip


class OwnKernel:
    """A kernel with these modules of its own; `read` reads one of them by its path."""

    def __init__(
        self, *modules: KernelModule, built_in: tuple[str, ...] = (), aliases: tuple[Alias, ...] = ()
    ) -> None:
        self._by_path = {module.path: module for module in modules}
        self.own = OwnModules(
            kernel="6.1.0",
            files={module.name.replace("-", "_"): module.path for module in modules},
            built_in=frozenset(built_in),
            aliases=lambda: aliases,
            exporters=lambda: {symbol: module.name for module in modules for symbol in module.exports},
        )

    @property
    def read(self) -> Callable[[Path], KernelModule]:
        return self._by_path.__getitem__
