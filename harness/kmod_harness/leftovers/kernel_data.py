"""What is known of a kernel without looking at its memory: offsets in structures, addresses of variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kmod_harness.build.cache import digest_of
from kmod_harness.build.cached_from_files import cached_from_files
from kmod_harness.checks.system_map import has_system_map
from kmod_harness.errors import Misuse
from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE, KERNEL_IMAGE_END
from kmod_harness.kmod.symbols.symbol_files import KallsymsEntry, parse_system_map
from kmod_harness.leftovers.known import DEAD_OBJECTS, HISTORY_MEMBERS, KNOWN_VARIABLES

if TYPE_CHECKING:
    from kmod_harness.build.kernel.kernel import Kernel
    from kmod_harness.guest.guest import Guest
    from kmod_harness.leftovers.types.btf import Btf
    from kmod_harness.leftovers.types.dwarf import Dwarf

#: The structures that the allocators' state is read from; a kernel has some of them.
_STRUCTURES = (
    *("page", "mem_section", "slab", "kmem_cache", "kmem_cache_cpu", "kmem_cache_per_node_ptrs"),
    *("file", "module", "module_layout", "module_memory", "workqueue_struct"),
    *("node_barn", "slab_sheaf", "slub_percpu_sheaves"),
    *(dead.structure for dead in DEAD_OBJECTS),
    *(history.structure for history in HISTORY_MEMBERS),
)
_CONSTANTS = ("PG_slab", "PGTY_slab", "PGTY_buddy")
_OPTIONAL = ("filp_cachep", "global_quarantine", "modules", "workqueues")
_VARIABLES = ("mem_section", "__per_cpu_offset", "__per_cpu_start", "__per_cpu_end", "_text", "_end")
_NEEDED = frozenset({"page", "mem_section", "slab", "kmem_cache"})
_BTF = "/sys/kernel/btf/vmlinux"
#: Letters of nm: what is no code.
_DATA = frozenset("aAbBdDrRvV")


class KernelNotDescribed(Misuse):
    """The kernel's structures or variables are not known: no debug information, no BTF, no symbols."""


@dataclass(frozen=True)
class KernelData:
    """A kernel's structures and variables.

    layouts: structure -> member -> offset in bytes; "" is the size
    constants: enumerator -> value
    variables: name -> linked address
    known: linked addresses whose pointers the kernel follows no more
    names: function that returns (linked address, name) of all variables, ascending
    """

    layouts: Mapping[str, Mapping[str, int]] = field(repr=False)
    constants: Mapping[str, int] = field(repr=False)
    variables: Mapping[str, int] = field(repr=False)
    known: tuple[range, ...] = field(repr=False)
    names: Callable[[], list[tuple[int, str]]] = field(repr=False)


def kernel_data(guest: Guest, kernel: Kernel, slide: Callable[[], int]) -> KernelData:
    """Returns what is known of a kernel; found out once for each kernel, which takes a second.

    guest: a guest that runs it, asked for its BTF and symbols where there are no files
    slide: function that returns KASLR's slide in bytes

    Raises KernelNotDescribed, OSError.
    """
    files = [path for path in (kernel.bzimage, kernel.vmlinux, kernel.system_map) if path is not None]

    def names() -> list[tuple[int, str]]:
        found = cached_from_files("leftover-names-2", files, lambda: _variables(guest, kernel, slide()))
        return [(int(address), str(name)) for address, name in found]

    told: dict[str, Any] = cached_from_files(
        f"leftover-data-9-{digest_of(*KNOWN_VARIABLES)}",
        files,
        lambda: {**_types(guest, kernel), **_some(names())},
    )
    missing = [*(_NEEDED - set(told["layouts"])), *(set(_VARIABLES) - set(told["variables"]))]
    if missing:
        raise KernelNotDescribed(f"nothing tells of the kernel's {', '.join(sorted(missing))}")
    known = tuple(range(start, end) for start, end in told["known"])
    return KernelData(told["layouts"], told["constants"], told["variables"], known, names)


def _some(names: list[tuple[int, str]]) -> dict[str, Any]:
    behind = [address for address, _ in names[1:]] + [0]
    return {
        "variables": {name: address for address, name in names if name in {*_VARIABLES, *_OPTIONAL}},
        # a variable ends where the next one that lies elsewhere begins
        "known": [
            (address, next((end for end in behind[at:] if end > address), address + 8))
            for at, (address, name) in enumerate(names)
            if name in KNOWN_VARIABLES
        ],
    }


def _types(guest: Guest, kernel: Kernel) -> dict[str, Any]:
    found: dict[str, Any] = {"layouts": {}, "constants": {}}
    if kernel.vmlinux is not None:
        from kmod_harness.leftovers.types.dwarf import Dwarf  # lazy

        found = _told(Dwarf(kernel.vmlinux))
    if not set(found["layouts"]) >= _NEEDED and guest.exists(_BTF):
        from kmod_harness.leftovers.types.btf import Btf  # lazy

        found = _told(Btf(guest.read_file(_BTF)))
    return found


def _told(types: Btf | Dwarf) -> dict[str, Any]:
    return {"layouts": types.layouts(_STRUCTURES), "constants": types.enumerators(_CONSTANTS)}


def _variables(guest: Guest, kernel: Kernel, slide: int) -> list[tuple[int, str]]:
    if has_system_map(kernel):
        assert kernel.system_map is not None
        entries, moved = parse_system_map(kernel.system_map.read_text()).entries, 0
    else:
        entries, moved = guest.kallsyms().kernel, slide
    # 7.2's kallsyms gives variables the letters of code: its writable sections begin before the code's end
    data = next((entry.address for entry in entries if entry.name == "_sdata"), KERNEL_IMAGE_END)
    wanted = (e for e in entries if e.type in _DATA or e.name in _VARIABLES or e.address >= data)
    return sorted(_linked(entry, moved) for entry in wanted)


def _linked(entry: KallsymsEntry, slide: int) -> tuple[int, str]:
    # per-CPU variables have small addresses, which do not move
    return (entry.address - slide if entry.address >= KERNEL_IMAGE_BASE else entry.address), entry.name
