"""Addresses of a stack seen from outside get the names of their functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.report.address_names import with_address_names

SLIDE = 0x25C00000
SYSTEM_MAP = """\
ffffffff81000000 T _text
ffffffff81001000 t do_idle
ffffffff81001100 T cpu_startup_entry
ffffffff81fff000 D some_data
ffffffff82000000 T last_one
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    (tmp_path / "System.map").write_text(SYSTEM_MAP)
    return Kernel("minimal", "6.1.0", tmp_path / "bzImage", system_map=tmp_path / "System.map")


def of_no_module(address: int) -> str:
    return ""


@pytest.mark.parametrize(
    ("linked", "name"),
    [
        (0xFFFFFFFF81001000, "do_idle+0x0"),
        (0xFFFFFFFF810010FF, "do_idle+0xff"),
        (0xFFFFFFFF81001104, "cpu_startup_entry+0x4"),
        (0xFFFFFFFF81FFF004, ""),
        (0xFFFFFFFF80000000, ""),
    ],
)
def test_an_address_gets_its_functions_name(kernel: Kernel, linked: int, name: str) -> None:
    text = f"CPU 0 from outside: halted, RIP {linked + SLIDE:#x}, RSP 0xffffc90000013ec8"
    found = with_address_names(text, kernel, SLIDE, of_no_module)
    assert found == text.replace(f"{linked + SLIDE:#x}", f"{linked + SLIDE:#x} {name}".rstrip())


def test_a_return_address_behind_a_function_is_of_the_call_at_its_end(kernel: Kernel) -> None:
    at = 0xFFFFFFFF81001100 + SLIDE
    found = with_address_names(f"CPU 0, RIP {at:#x}\n  {at:#x}", kernel, SLIDE, of_no_module)
    assert found == f"CPU 0, RIP {at:#x} cpu_startup_entry+0x0\n  {at:#x} do_idle+0x100"


def test_a_modules_function_is_named_by_where_it_was_loaded(kernel: Kernel) -> None:
    text = "  0xffffffffc0123456"
    found = with_address_names(text, kernel, SLIDE, lambda address: "my_read+0x6/0x20 [my]")
    assert found == "  0xffffffffc0123456 my_read+0x6/0x20 [my]"


def test_without_a_slide_or_a_map_the_text_is_as_it_was(kernel: Kernel) -> None:
    text = "  0xffffffff81001104"
    assert with_address_names(text, kernel, None, of_no_module) == text
    bare = Kernel("debian", "6.1.0", kernel.bzimage)
    assert with_address_names(text, bare, SLIDE, of_no_module) == text
