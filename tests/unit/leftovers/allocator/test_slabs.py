"""Objects of slabs, in use and free, as the releases link the free ones."""

from __future__ import annotations

from kmod_harness.leftovers.allocator.pages import PageUse, Use
from kmod_harness.leftovers.allocator.slabs import Slabs
from unit.leftovers.allocator.memory import Memory

MAP, HEAD, CACHE, CPU = 0xFFFF888000000000, 0xFFFFEA0000000200, 0xFFFF888000900000, 0xFFFF888000A00000
PAGE = PageUse(Use.SLAB, HEAD, 8)
SLAB = {"": 64, "slab_cache": 8, "freelist": 32}
COMMON = {"": 200, "size": 24, "object_size": 28, "offset": 40, "name": 96, "red_left_pad": 88}
OF_CPUS = {"slab": SLAB, "kmem_cache": {**COMMON, "cpu_slab": 0}, "kmem_cache_cpu": {"": 32, "freelist": 0}}
OF_SHEAVES = {
    "slab": SLAB,
    "kmem_cache": {**COMMON, "cpu_sheaves": 0, "per_node": 176},
    "slub_percpu_sheaves": {"": 32, "main": 8, "spare": 16, "rcu_free": 24},
    "slab_sheaf": {"": 32, "barn_list": 0, "size": 24, "objects": 32},
    "kmem_cache_per_node_ptrs": {"": 16, "barn": 0, "node": 8},
    "node_barn": {"": 48, "sheaves_full": 8},
}


def cache(memory: Memory, *, size: int = 256, usable: int = 192, offset: int = 96, pad: int = 0) -> None:
    memory.put(HEAD + 8, CACHE)
    memory.put(CACHE + 24, size, 4)
    memory.put(CACHE + 28, usable, 4)
    memory.put(CACHE + 40, offset, 4)
    memory.put(CACHE + 88, pad, 4)
    memory.put(CACHE + 96, CACHE + 0x800)
    memory.put_text(CACHE + 0x800, "kmalloc-192")


def address(index: int) -> int:
    return MAP + 8 * 4096 + 256 * index


def physical(index: int, offset: int = 0) -> int:
    return address(index) - MAP + offset


def test_a_byte_lies_in_an_object_with_its_cache_and_offset() -> None:
    memory = Memory()
    cache(memory)
    found = Slabs(memory.read, OF_CPUS, MAP, []).object_at(physical(3, 40), PAGE)
    assert found is not None
    assert (found.cache, found.start, found.size, found.offset) == ("kmalloc-192", address(3), 192, 40)
    assert not found.is_free


def test_between_objects_and_in_a_red_zone_is_none() -> None:
    memory = Memory()
    cache(memory, pad=16)
    slabs = Slabs(memory.read, OF_CPUS, MAP, [])
    assert slabs.object_at(physical(3, 8), PAGE) is None
    assert slabs.object_at(physical(3, 208), PAGE) is None
    found = slabs.object_at(physical(3, 20), PAGE)
    assert found is not None and found.offset == 4


def test_a_slab_without_a_cache_has_no_objects() -> None:
    assert Slabs(Memory().read, OF_CPUS, MAP, []).object_at(physical(3), PAGE) is None


def test_the_slabs_own_list_and_each_cpus_list_hold_free_objects() -> None:
    memory = Memory()
    cache(memory)
    memory.put(CACHE, 0x100)
    memory.put(HEAD + 32, address(1))
    memory.put(address(1) + 96, address(2))
    memory.put(CPU + 0x100, address(4))
    slabs = Slabs(memory.read, OF_CPUS, MAP, [CPU])
    free = [index for index in range(6) if is_free(slabs, index)]
    assert free == [1, 2, 4]


def test_hardened_lists_are_decoded() -> None:
    memory = Memory()
    cache(memory)
    layouts = {**OF_CPUS, "kmem_cache": {**OF_CPUS["kmem_cache"], "random": 176}}
    key = 0x1234567890ABCDEF
    memory.put(CACHE + 176, key)
    memory.put(HEAD + 32, address(1))
    place = address(1) + 96
    swapped = int.from_bytes(place.to_bytes(8, "little"), "big")
    memory.put(place, address(5) ^ key ^ swapped)
    last = address(5) + 96
    memory.put(last, 0 ^ key ^ int.from_bytes(last.to_bytes(8, "little"), "big"))
    slabs = Slabs(memory.read, layouts, MAP, [])
    assert [index for index in range(8) if is_free(slabs, index)] == [1, 5]


def test_sheaves_of_cpus_and_of_the_node_hold_free_objects() -> None:
    memory = Memory()
    cache(memory)
    main, full, barn = 0xFFFF888000B00000, 0xFFFF888000B10000, 0xFFFF888000B20000
    memory.put(CACHE, 0x100)
    memory.put(CPU + 0x108, main)
    memory.put(CACHE + 176, barn)
    memory.put(barn + 8, full)
    memory.put(full, barn + 8)
    for sheaf, index in ((main, 2), (full, 3)):
        memory.put(sheaf + 24, 1, 4)
        memory.put(sheaf + 32, address(index))
    slabs = Slabs(memory.read, OF_SHEAVES, MAP, [CPU])
    assert [index for index in range(6) if is_free(slabs, index)] == [2, 3]


def test_a_list_in_a_circle_ends() -> None:
    memory = Memory()
    cache(memory)
    memory.put(HEAD + 32, address(1))
    memory.put(address(1) + 96, address(1))
    assert is_free(Slabs(memory.read, OF_CPUS, MAP, []), 1)


def is_free(slabs: Slabs, index: int) -> bool:
    found = slabs.object_at(physical(index), PAGE)
    return found is not None and found.is_free
