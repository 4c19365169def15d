"""The addresses of a module's blocks from Linux 6.4 on, by `mem[]` in its own `struct module`."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from kmod_harness.kmod.layout.placed import MEMORY_TYPES, PAGE
from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.releases import facts

#: `struct module_memory` (include/linux/module.h): base, size (6.12.118), and a tree node in some
#: configurations. Its size, and the offset of `mem` in struct module, depend on the configuration.
_MEMORY = (struct.Struct("<QI"),)
#: With `is_rox` before the size, in some also the text's writable copy (7.2.13).
_MEMORY_WITH_ROX = (struct.Struct("<Q4xI"), struct.Struct("<Q12xI"))
_STRIDES = range(16, 136, 8)
_DATA = MEMORY_TYPES.index("data")


def block_bases(content: bytes, layout: Layout, data: int) -> dict[str, int]:
    """Returns block -> address for blocks that are in memory; {} where the struct does not tell them.

    content: bytes of `struct module`
    layout: predicted layout of the module
    data: address of the block `data`, which the struct itself lies in

    `mem` is where that address stands and each other entry has the predicted size of a block. Exactly one
    place must be like that.
    """
    forms = _MEMORY_WITH_ROX if facts.MEMORY_KNOWS_ROX.holds(layout.release) else _MEMORY
    found = {
        tuple(bases.items())
        for at in range(0, len(content) - 8 + 1, 8)
        if int.from_bytes(content[at : at + 8], "little") == data
        for form in forms
        for stride in _STRIDES
        if (bases := _bases_at(content, at - _DATA * stride, stride, form, layout.blocks)) is not None
    }
    return dict(found.pop()) if len(found) == 1 else {}


def _bases_at(
    content: bytes, first: int, stride: int, form: struct.Struct, sizes: Mapping[str, int]
) -> dict[str, int] | None:
    """Returns the blocks if an array of them begins at `first`, else None; those of init may be gone."""
    if stride < form.size or first < 0 or first + stride * len(MEMORY_TYPES) > len(content):
        return None
    bases = {}
    for number, block in enumerate(MEMORY_TYPES):
        base, size = form.unpack_from(content, first + number * stride)
        if base == size == 0 and (block.startswith("init") or not sizes[block]):
            continue
        if size != sizes[block] or base % PAGE or base >> 63 == 0:
            return None
        bases[block] = base
    return bases
