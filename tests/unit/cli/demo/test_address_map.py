"""The address map: to scale, within 80 columns, nothing invisible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.cli.demo.address_map import Area, draw, kernel_areas

BASE = 0xFFFFFFFF80000000


def test_an_area_is_drawn_at_its_place_and_listed_with_range_and_size() -> None:
    bar, legend = draw([Area("half", BASE + (1 << 30), BASE + (2 << 30), "H")], BASE, BASE + (2 << 30))
    cells = bar.strip().strip("|")
    assert cells == "." * 37 + "H" * 37
    assert legend.split()[:2] == ["H", "half"]
    assert "0xffffffffc0000000-" in legend
    assert "1024.0 MiB" in legend


def test_the_smallest_area_still_has_a_column() -> None:
    bar, _ = draw([Area("tiny", BASE + 4096, BASE + 4097, "x")], BASE, BASE + (2 << 30))
    assert bar.count("x") == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 31), st.integers(1, 1 << 28))
        .map(lambda at: Area("some area", BASE + at[0], min(BASE + at[0] + at[1], BASE + (1 << 31)), "x"))
        .filter(lambda area: area.start < area.end),
        max_size=5,
    )
)
def test_no_line_is_wider_than_a_terminal(areas: list[Area]) -> None:
    assert all(len(line) <= 78 for line in draw(areas, BASE, BASE + (1 << 31)))


def test_the_kernel_image_is_divided_by_the_linkers_symbols() -> None:
    addresses = {"_text": 1, "_etext": 5, "__start_rodata": 8, "__end_rodata": 9, "_sdata": 10, "_end": 12}
    assert [(area.name, area.start, area.end) for area in kernel_areas(addresses)] == [
        ("kernel text", 1, 5),
        ("kernel rodata", 8, 9),
        ("kernel data", 10, 12),
    ]
    assert kernel_areas({}) == []
