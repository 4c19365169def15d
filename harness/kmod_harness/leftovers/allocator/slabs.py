"""Which object of the slab allocator a byte lies in, and whether the kernel holds the object free.

SLUB (mm/slub.c): up to 6.19 each CPU has a slab of its own and a list of free objects of it. Later ones keep
them in arrays, `sheaves`, and the rest in the slab's own list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kmod_harness.leftovers.allocator.pages import PAGE, Layouts, PageUse, Read

#: More free objects than any slab has, and more sheaves than any node: the guest is not trusted.
_MOST = 1 << 15
_NAME_BYTES = 64
#: `objects` is a bit field of 15 bits, beside `frozen`.
_COUNT = 0x7FFF


@dataclass(frozen=True)
class SlabObject:
    """An object of a slab cache.

    cache: name of the cache
    start: address of the object
    size: bytes of an object as the cache's users see it
    offset: where in the object the byte lies that was asked for
    is_free: whether the allocator holds it free
    """

    cache: str
    start: int
    size: int
    offset: int
    is_free: bool


class Slabs:
    """The slabs of a stopped kernel.

    read: function that returns the bytes at (address, size) of the kernel's virtual memory
    layouts: offsets of the members of the kernel's structures
    direct_map: virtual address of physical address 0
    cpus: the offset of each CPU's per-CPU area
    """

    def __init__(self, read: Read, layouts: Layouts, direct_map: int, cpus: Sequence[int]) -> None:
        self._read = read
        self._layouts = layouts
        self._slab, self._cache = layouts["slab"], layouts["kmem_cache"]
        self._direct_map = direct_map
        self._cpus = cpus
        #: of a cache, the free objects that are in no slab's own list
        self._held: dict[int, frozenset[int]] = {}
        #: of a slab, by its struct page, all free objects
        self._free: dict[int, frozenset[int]] = {}

    def object_at(self, physical: int, page: PageUse) -> SlabObject | None:
        """Returns the object that holds a byte; None for a byte between objects, or a slab that is broken."""
        cache = self._word(page.head + self._slab["slab_cache"])
        size = self._half(cache + self._cache["size"]) if cache else 0
        if not size:
            return None
        base = self._direct_map + page.first * PAGE
        address = self._direct_map + physical
        index = (address - base) // size
        # with SLAB_RED_ZONE, objects begin behind a left red zone; 0 without
        pad = self._half(cache + self._cache["red_left_pad"]) if "red_left_pad" in self._cache else 0
        start = base + index * size + pad
        usable = self._half(cache + self._cache["object_size"])
        if not start <= address < start + usable:
            return None
        is_free = start in self._free_of(cache, page.head)
        return SlabObject(self._name_of(cache), start, usable, address - start, is_free)

    def objects_of(self, name: str, cache: int, page: PageUse) -> list[SlabObject]:
        """Returns the objects of a slab, if it is of the cache of that name or at that address; else []."""
        of = self._word(page.head + self._slab["slab_cache"])
        if not of or not (of == cache or self._name_of(of) == name):
            return []
        size, base = self._half(of + self._cache["size"]), self._direct_map + page.first * PAGE
        count = int.from_bytes(self._read(page.head + self._slab["objects"], 2), "little") & _COUNT
        starts = [base + size * index - self._direct_map for index in range(count if size else 0)]
        return [found for start in starts if (found := self.object_at(start, page)) is not None]

    def _free_of(self, cache: int, head: int) -> frozenset[int]:
        if head not in self._free:
            listed = self._chain(cache, self._word(head + self._slab["freelist"]))
            self._free[head] = self._held_of(cache).union(listed)
        return self._free[head]

    def _name_of(self, cache: int) -> str:
        name = self._word(cache + self._cache["name"])
        return self._read(name, _NAME_BYTES).split(b"\0", 1)[0].decode(errors="replace")

    def _held_of(self, cache: int) -> frozenset[int]:
        if cache not in self._held:
            found = self._in_sheaves(cache) if "cpu_sheaves" in self._cache else self._in_cpu_lists(cache)
            self._held[cache] = frozenset(found)
        return self._held[cache]

    def _in_cpu_lists(self, cache: int) -> Iterator[int]:
        place = self._word(cache + self._cache["cpu_slab"])
        first = self._layouts["kmem_cache_cpu"]["freelist"]
        for base in self._cpus:
            yield from self._chain(cache, self._word((place + base + first) & (1 << 64) - 1))

    def _in_sheaves(self, cache: int) -> Iterator[int]:
        place = self._word(cache + self._cache["cpu_sheaves"])
        sheaves = self._layouts["slub_percpu_sheaves"]
        for base in self._cpus if place else ():
            for name in ("main", "spare", "rcu_free"):
                yield from self._objects(self._word((place + base + sheaves[name]) & (1 << 64) - 1))
        barn = self._word(cache + self._cache["per_node"] + self._layouts["kmem_cache_per_node_ptrs"]["barn"])
        if barn:
            head = barn + self._layouts["node_barn"]["sheaves_full"]
            entry = self._word(head)
            for _ in range(_MOST):
                if entry in (head, 0):
                    break
                yield from self._objects(entry - self._layouts["slab_sheaf"]["barn_list"])
                entry = self._word(entry)

    def _objects(self, sheaf: int) -> Iterator[int]:
        if sheaf:
            layout = self._layouts["slab_sheaf"]
            count = min(self._half(sheaf + layout["size"]), _MOST)
            data = self._read(sheaf + layout["objects"], 8 * count)
            yield from memoryview(data).cast("Q")

    def _chain(self, cache: int, first: int) -> Iterator[int]:
        """Yields the objects of a list of free ones, which link each other in their own memory."""
        offset = self._half(cache + self._cache["offset"])
        # CONFIG_SLAB_FREELIST_HARDENED (mm/slub.c: freelist_ptr_decode)
        key = self._word(cache + self._cache["random"]) if "random" in self._cache else None
        for _ in range(_MOST):
            if not first:
                return
            yield first
            place = first + offset
            first = self._word(place)
            if key is not None:
                first ^= key ^ int.from_bytes(place.to_bytes(8, "little"), "big")

    def _word(self, address: int) -> int:
        return int.from_bytes(self._read(address, 8), "little")

    def _half(self, address: int) -> int:
        return int.from_bytes(self._read(address, 4), "little")
