"""The modules that a stopped kernel has loaded, and where their data lies, by its own list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kmod_harness.leftovers.allocator.pages import Layouts, Read

#: More modules than a kernel loads, and the bytes of a name (MODULE_NAME_LEN).
_MOST, _NAME_BYTES = 5000, 56
#: MOD_DATA and MOD_RO_AFTER_INIT (enum mod_mem_type, include/linux/module.h, 6.4 on).
_DATA_TYPES = (1, 3)


@dataclass(frozen=True)
class ModuleData:
    """Memory of a loaded module that holds variables; `own` is its `struct module`, a record of it."""

    name: str
    memory: range
    own: range


def loaded_modules(read: Read, layouts: Layouts, head: int) -> Iterator[ModuleData]:
    """Yields the memory of each loaded module, by the list at `head`.

    Raises what `read` raises.
    """
    layout = layouts.get("module", {})
    if not head or not {"", "list", "name"} <= set(layout):
        return
    entry = _word(read, head)
    for _ in range(_MOST):
        if entry in (head, 0):
            return
        place = entry - layout["list"]
        name = read(place + layout["name"], _NAME_BYTES).split(b"\0", 1)[0].decode(errors="replace")
        for base, size in _blocks(read, layouts, layout, place):
            yield ModuleData(name, range(base, base + size), range(place, place + layout[""]))
        entry = _word(read, entry)


def _blocks(read: Read, layouts: Layouts, layout: Mapping[str, int], place: int) -> Iterator[tuple[int, int]]:
    """Yields (address, size) of what holds variables: one block up to 6.3, one of each kind since."""
    if "mem" in layout:
        of = layouts["module_memory"]
        places = [place + layout["mem"] + kind * of[""] for kind in _DATA_TYPES]
    else:
        of = layouts["module_layout"]
        places = [place + layout["core_layout"]]
    for block in places:
        yield _word(read, block + of["base"]), int.from_bytes(read(block + of["size"], 4), "little")


def _word(read: Read, address: int) -> int:
    return int.from_bytes(read(address, 8), "little")
