"""Which pages of RAM a guest wrote, by the entries of /proc/PID/pagemap."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.leftovers.written_ram import runs_written

PRESENT, SWAPPED, OF_FILE = 1 << 63, 1 << 62, 1 << 61
UNTOUCHED, FILE, WRITTEN, SWAPPED_OUT = 0, PRESENT | OF_FILE, PRESENT | 0x1234, SWAPPED | 0x55


def runs(*entries: int) -> list[tuple[int, int]]:
    return runs_written(struct.pack(f"<{len(entries)}Q", *entries))


def test_a_page_of_the_templates_file_was_not_written() -> None:
    assert runs(UNTOUCHED, FILE, FILE) == []


def test_pages_side_by_side_are_one_run() -> None:
    assert runs(FILE, WRITTEN, WRITTEN, FILE, WRITTEN) == [(1, 3), (4, 5)]


def test_a_written_page_that_the_host_swapped_out_is_one() -> None:
    assert runs(SWAPPED_OUT) == [(0, 1)]


@given(st.lists(st.sampled_from([UNTOUCHED, FILE, WRITTEN, SWAPPED_OUT])))
def test_the_runs_are_the_pages_that_were_written(entries: list[int]) -> None:
    pages = {page for first, last in runs(*entries) for page in range(first, last)}
    assert pages == {at for at, entry in enumerate(entries) if entry in (WRITTEN, SWAPPED_OUT)}
