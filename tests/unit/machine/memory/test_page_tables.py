"""Page tables of x86-64: what is found is what was mapped, with the permissions of all levels together."""

from __future__ import annotations

import struct
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE
from kmod_harness.machine.memory.kernel_place import (
    LINKED_TEXT,
    KernelNotFound,
    direct_map_base,
    is_contiguous,
    kernel_slide,
    mapped_pages,
)
from kmod_harness.machine.memory.page_tables import Page, PageTables, UnmappedAddress, kernel_root

P, RW, US, PS, NX = 1, 2, 4, 1 << 7, 1 << 63
LARGE_PAT = 1 << 12  # a large page's memory type, where a small one has its address
KIB4, MIB2, GIB1 = 1 << 12, 1 << 21, 1 << 30
LEVEL_OF = {KIB4: 1, MIB2: 2, GIB1: 3}
MODULES = 0xFFFFFFFFC0000000
DIRECT = 0xFFFF888000000000


class Ram:
    """Physical memory with page tables in it: {physical address: its 512 entries}."""

    def __init__(self, levels: int = 4, root: int = 0x1000) -> None:
        self.levels, self.root = levels, root
        self.entries: defaultdict[int, list[int]] = defaultdict(lambda: [0] * 512)
        self.next_table = 0x10_0000

    def read(self, address: int, size: int) -> bytes:
        assert size == KIB4
        return struct.pack("<512Q", *self.entries[address])

    def map(
        self, virtual: int, physical: int, size: int = KIB4, leaf: int = RW, upper: int = RW | US
    ) -> None:
        """Maps one page; `upper` are the flags of the tables above it that are not there yet."""
        table = self.root
        for level in range(self.levels, LEVEL_OF[size], -1):
            entries, index = self.entries[table], virtual >> 12 + 9 * (level - 1) & 511
            if not entries[index]:
                entries[index] = self.next_table | upper | P
                self.next_table += KIB4
            table = entries[index] & 0xFFFFFFFFFF000
        index = virtual >> 12 + 9 * (LEVEL_OF[size] - 1) & 511
        self.entries[table][index] = physical | leaf | P | (PS | LARGE_PAT if size > KIB4 else 0)

    @property
    def tables(self) -> PageTables:
        return PageTables(self.read, self.root, self.levels)


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("size", [KIB4, MIB2, GIB1])
def test_a_page_of_each_size_is_found_from_any_of_its_bytes(levels: int, size: int) -> None:
    ram = Ram(levels)
    ram.map(MODULES, 0x40000000, size)
    page = Page(MODULES, 0x40000000, size, writable=True, executable=True, user=False)
    for offset in (0, 1, size - 1):
        assert ram.tables.page(MODULES + offset) == page
        assert page.physical_of(MODULES + offset) == 0x40000000 + offset
    assert list(ram.tables.walk(MODULES, MODULES + 1)) == [page]
    for outside in (MODULES - 1, MODULES + size):
        with pytest.raises(UnmappedAddress) as error:
            ram.tables.page(outside)
        assert error.value.address == outside


flags = st.integers(0, 7).map(lambda n: (RW if n & 1 else 0) | (US if n & 2 else 0) | (NX if n & 4 else 0))
offsets = st.one_of(
    st.tuples(st.just(KIB4), st.integers(0, 1023).map(lambda n: n * KIB4)),
    st.tuples(st.just(MIB2), st.integers(4, 511).map(lambda n: n * MIB2)),
    st.tuples(st.just(GIB1), st.integers(1, 1023).map(lambda n: n * GIB1)),
)
mappings = st.dictionaries(offsets, st.tuples(st.integers(0, 1 << 20), flags, flags), max_size=8)


@given(st.sampled_from([4, 5]), st.sampled_from([0, DIRECT]), mappings)
def test_walking_finds_what_was_mapped_and_nothing_else(
    levels: int, base: int, mapped: dict[tuple[int, int], tuple[int, int, int]]
) -> None:
    ram = Ram(levels)
    for (size, offset), (number, leaf, upper) in mapped.items():
        ram.map(base + offset, number * size, size, leaf, upper)
    found = list(ram.tables.walk(0, 1 << 64))
    assert [(page.size, page.virtual - base) for page in found] == sorted(mapped, key=lambda m: m[1])
    for page in found:
        assert page.physical == mapped[page.size, page.virtual - base][0] * page.size
        assert ram.tables.find(page.virtual) == page == ram.tables.find(page.end - 1)
    middle = base + GIB1
    assert list(ram.tables.walk(middle, middle + 2 * GIB1)) == [
        page for page in found if page.end > middle and page.virtual < middle + 2 * GIB1
    ]


def test_a_large_page_is_cut_into_those_of_4_kib_that_are_asked_for() -> None:
    ram = Ram()
    ram.map(MODULES, 0x40000000, MIB2)
    ram.map(MODULES + MIB2, 0x5000)
    start, end = MODULES + MIB2 - 2 * KIB4, MODULES + MIB2 + KIB4
    assert [(page.virtual, page.physical, page.size) for page in ram.tables.parts(start, end)] == [
        (start, 0x40000000 + MIB2 - 2 * KIB4, KIB4),
        (start + KIB4, 0x40000000 + MIB2 - KIB4, KIB4),
        (MODULES + MIB2, 0x5000, KIB4),
    ]


@given(flags, flags)
def test_permissions_are_those_of_all_levels_together(leaf: int, upper: int) -> None:
    ram = Ram()
    ram.map(MODULES, 0x5000, leaf=leaf, upper=upper)
    page = ram.tables.page(MODULES)
    assert page.writable == bool(leaf & upper & RW)
    assert page.user == bool(leaf & upper & US)
    assert page.executable == (not (leaf | upper) & NX)
    assert list(ram.tables.walk(MODULES, MODULES + 1)) == [page]


def test_without_nxe_nothing_forbids_execution() -> None:
    ram = Ram()
    ram.map(MODULES, 0x5000, leaf=NX)
    assert ram.tables.page(MODULES).permissions == "r--"
    assert PageTables(ram.read, ram.root, 4, no_execute=False).page(MODULES).permissions == "r-x"


def test_an_address_that_is_not_canonical_is_mapped_nowhere() -> None:
    ram = Ram(4)
    ram.map(DIRECT, 0)
    assert ram.tables.find(DIRECT & (1 << 48) - 1) is None


def test_each_table_is_read_once() -> None:
    ram = Ram()
    for number in range(100):
        ram.map(MODULES + number * KIB4, number * KIB4)
    read = []
    tables = PageTables(lambda at, size: (read.append(at), ram.read(at, size))[1], ram.root, 4)
    assert len(list(tables.walk(MODULES, MODULES + MIB2))) == 100
    for number in range(100):
        tables.page(MODULES + number * KIB4)
    assert len(read) == len(set(read)) == 4


def test_tables_that_lead_nowhere_however_often_are_walked_once() -> None:
    ram = Ram()
    below = [0x2000, 0x3000, 0x4000]
    for table, next_table in zip([ram.root, *below], below, strict=False):
        ram.entries[table] = [next_table | P] * 512
    assert list(ram.tables.walk(0, 1 << 64)) == []
    ram.entries[below[-1]][5] = 0x9000 | P
    assert ram.tables.page(MODULES + 5 * KIB4).physical == 0x9000


class TestTheKernelsTables:
    """Page-table isolation: the user table is the kernel table's neighbour, and maps next to nothing."""

    KERNEL, USER = 0x8000, 0x9000

    def ram(self) -> Ram:
        ram = Ram(root=self.KERNEL)
        for region in (DIRECT, 0xFFFFC90000000000, 0xFFFFEA0000000000):
            ram.map(region, 0x20000)
        ram.root = self.USER
        ram.map(DIRECT + 0x3000, 0x23000)  # the TSS, in the per-CPU pages
        ram.map(0xFFFFFE0000000000, 0x30000)  # the CPU entry area
        ram.map(0xFFFF880000000000, 0x31000)  # the LDT
        return ram

    @pytest.mark.parametrize("cr3", [KERNEL, KERNEL | 7, USER, USER | 0x807, USER | 1 << 63])
    def test_the_one_that_maps_the_kernel_is_chosen(self, cr3: int) -> None:
        assert kernel_root(self.ram().read, cr3) == self.KERNEL

    def test_without_isolation_any_page_can_be_the_root(self) -> None:
        ram = Ram(root=self.USER)
        for region in (DIRECT, 0xFFFFC90000000000, 0xFFFFEA0000000000):
            ram.map(region, 0x20000)
        assert kernel_root(ram.read, self.USER) == self.USER

    def test_tables_of_no_kernel_are_told(self) -> None:
        with pytest.raises(UnmappedAddress, match="map no Linux kernel"):
            kernel_root(Ram().read, 0x7000)


class TestWhereTheKernelIs:
    @pytest.mark.parametrize("slide", [0, 0x1200000, 0x3D000000])
    def test_the_slide_is_what_moved_text(self, slide: int) -> None:
        ram = Ram()
        ram.map(LINKED_TEXT + slide, 0x1000000, MIB2)
        ram.map(LINKED_TEXT + slide + MIB2, 0x1200000, MIB2)
        ram.map(MODULES, 0x5000)
        assert kernel_slide(ram.tables) == slide
        assert kernel_slide(ram.tables, LINKED_TEXT - MIB2) == slide + MIB2

    @pytest.mark.parametrize("lowest", [KERNEL_IMAGE_BASE, LINKED_TEXT + KIB4, MODULES])
    def test_what_no_kernel_could_be_moved_by_is_refused(self, lowest: int) -> None:
        ram = Ram()
        ram.map(lowest, 0)
        with pytest.raises(KernelNotFound):
            kernel_slide(ram.tables)

    @pytest.mark.parametrize(
        ("levels", "base"), [(4, DIRECT), (4, 0xFFFF8CBD00000000), (5, 0xFF310F3FC0000000)]
    )
    @pytest.mark.parametrize("first", [0, 0x1000])
    def test_the_direct_map_begins_at_physical_0_although_it_may_lack_it(
        self, levels: int, base: int, first: int
    ) -> None:
        ram = Ram(levels)
        ram.map(base + first, first)
        ram.map(0xFFFFC90000000000, 0x7000)
        assert direct_map_base(ram.tables) == base

    def test_another_region_is_not_taken_for_it(self) -> None:
        ram = Ram()
        with pytest.raises(KernelNotFound, match="nothing is mapped"):
            direct_map_base(ram.tables)
        ram.map(0xFFFFC90000000000, 0x7000)
        with pytest.raises(KernelNotFound, match="belongs to no direct map"):
            direct_map_base(ram.tables)


class TestThePagesOfAModule:
    @pytest.mark.parametrize(
        ("here", "there", "broken"),
        [(0, NX, False), (0, RW | NX, True), (RW | NX, RW | NX, False), (RW, NX, True), (NX, NX, False)],
    )
    def test_write_and_execute_are_looked_for_in_both_mappings(
        self, here: int, there: int, broken: bool
    ) -> None:
        ram = Ram()
        ram.map(MODULES, MIB2 + 0x3000, leaf=here)
        ram.map(DIRECT, 0, MIB2, leaf=NX)
        ram.map(DIRECT + MIB2, MIB2, MIB2, leaf=there)
        (found,) = mapped_pages(ram.tables, MODULES, MODULES + KIB4)
        assert found.alias is not None
        assert (found.alias.virtual, found.alias.physical, found.alias.size) == (
            DIRECT + MIB2 + 0x3000,
            MIB2 + 0x3000,
            KIB4,
        )
        assert found.is_writable_and_executable is broken

    def test_an_alias_may_be_missing(self) -> None:
        ram = Ram()
        ram.map(MODULES, 0x9000)
        ram.map(DIRECT, 0)
        (found,) = mapped_pages(ram.tables, MODULES, MODULES + 1)
        assert found.alias is None

    def test_a_gap_is_told_where_it_begins(self) -> None:
        ram = Ram()
        ram.map(DIRECT, 0)
        ram.map(MODULES, 0x9000)
        with pytest.raises(UnmappedAddress) as error:
            list(mapped_pages(ram.tables, MODULES + 8, MODULES + 0x2000))
        assert error.value.address == MODULES + KIB4

    def test_pages_that_follow_one_another_are_contiguous(self) -> None:
        def page(number: int, physical: int) -> Page:
            return Page(MODULES + number * KIB4, physical, KIB4, False, False, False)

        assert is_contiguous([page(0, 0x5000), page(1, 0x6000), page(2, 0x7000)])
        assert not is_contiguous([page(0, 0x5000), page(1, 0x7000)])
        assert is_contiguous([])
