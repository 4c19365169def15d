"""Names for addresses within a module, by its symbol table and its sections' addresses. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace

from kmod_harness.explain.observed.observations import ExecutedBlock, ExecutedCode, Region
from kmod_harness.kmod.elf.module import KernelModule

#: Aliases that every module has beside its own names (include/linux/module.h, 6.1).
_ALIASES = ("init_module", "cleanup_module")


class FunctionNames:
    """Names for addresses in a module's functions; `sections` is section name -> address."""

    def __init__(self, file: KernelModule, sections: Mapping[str, int]) -> None:
        spans: dict[int, tuple[int, str]] = {}
        for symbol in file.symbols:
            if symbol.kind == "FUNC" and symbol.section is not None and symbol.section in sections:
                start = sections[symbol.section] + symbol.value
                if start not in spans or symbol.name not in _ALIASES:
                    spans[start] = (start + max(symbol.size, 1), symbol.name)
        self._starts = sorted(spans)
        self._spans = spans

    def function_at(self, address: int) -> tuple[str, int]:
        """Returns the name of the function at an address and the offset in it, ("", 0) outside of all."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return "", 0
        start = self._starts[at]
        end, name = self._spans[start]
        return (name, address - start) if address < end else ("", 0)

    def label(self, address: int) -> str:
        """Returns `chardev_open+0x31`, `chardev_open` at its start, "" outside of all."""
        name, offset = self.function_at(address)
        return f"{name}+{offset:#x}" if offset else name


def named(executed: ExecutedCode, within: tuple[Region, ...], names: FunctionNames) -> ExecutedCode:
    """Returns the code that ran in those ranges, each block with its function's name."""
    blocks = (block for block in executed.blocks if any(block.address in one for one in within))
    return replace(executed, blocks=tuple(_labelled(block, names) for block in blocks))


def apart_from(executed: ExecutedCode, others: tuple[Region, ...]) -> ExecutedCode:
    """Returns the code that ran outside those ranges, which are other modules'."""
    blocks = (block for block in executed.blocks if not any(block.address in other for other in others))
    return replace(executed, blocks=tuple(blocks))


def _labelled(block: ExecutedBlock, names: FunctionNames) -> ExecutedBlock:
    return replace(block, symbol=names.label(block.address))
