"""Kconfig's files and expressions, and the lines that set an option with all that it depends on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.reasons.kconfig_expression import All, Any, Compared, Not, Option, parse_expression
from kmod_harness.build.reasons.kconfig_files import read_symbols
from kmod_harness.build.reasons.options_to_set import lines_to_set, with_set

TREE = {
    "Kconfig": 'source "drivers/Kconfig"\nsource "arch/$(SRCARCH)/Kconfig"\n',
    "arch/x86/Kconfig": "config X86\n\tdef_bool y\n",
    "drivers/Kconfig": """\
menu "Drivers"
\tdepends on HAS_IOMEM

config HAS_IOMEM
\tbool
\tdefault y

menuconfig MEDIA
\ttristate "Media" # with words
\thelp
\t  Long text.

\t  config NOT_ONE
\t  depends on NOTHING

if MEDIA

config VIDEO
\ttristate "Video"
\tdepends on I2C || \\
\t\t(USB && !BROKEN)

endif

config I2C
\tbool "I2C" if EXPERT
config USB
\tbool "USB"
\tselect USB_CORE
config USB_CORE
\tbool
config EXPERT
\tbool "Expert"
config BROKEN
\tbool
config HASH
\ttristate
config HELPER
\ttristate
\tdefault MANAGER || USB
\tselect HASH if USB || MANAGER
config MANAGER
\ttristate "Manager"
config FAR
\ttristate "Far"
\tdepends on BROKEN
endmenu
config LOOP_A
\tbool "A"
\tdepends on LOOP_B
config LOOP_B
\tbool "B"
\tdepends on LOOP_A
config EXACT
\tbool "Exact"
\tdepends on USB=y && X86 && MEDIA!=y
""",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


BASE = {"HAS_IOMEM": "y", "X86": "y"}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("MEDIA", ("MEDIA",)),
        ("VIDEO", ("MEDIA", "USB", "VIDEO")),
        ("HAS_IOMEM", ()),
        ("I2C", ("EXPERT", "I2C")),
        # without a prompt: by what selects it, by what it is by default
        ("USB_CORE", ("USB",)),
        ("HELPER", ("MANAGER",)),
        ("HASH", ("MANAGER",)),
        ("EXACT", ("USB", "EXACT")),
        ("FAR", None),
        ("LOOP_A", None),
        ("NOT_ONE", None),
    ],
)
def test_the_lines_that_set_an_option(tree: Path, name: str, lines: tuple[str, ...] | None) -> None:
    assert lines_to_set(name, read_symbols(tree), BASE) == lines


def test_what_is_set_already_is_not_asked_for(tree: Path) -> None:
    assert lines_to_set("VIDEO", read_symbols(tree), {**BASE, "MEDIA": "m", "I2C": "y"}) == ("VIDEO",)


def test_what_is_set_selects_more(tree: Path) -> None:
    settings = with_set(("MANAGER",), read_symbols(tree), BASE)
    assert settings == {**BASE, "MANAGER": "y", "HELPER": "y", "HASH": "y"}


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("A", Option("A")),
        ("!A && B", All((Not(Option("A")), Option("B")))),
        ("A || B && C", Any((Option("A"), All((Option("B"), Option("C")))))),
        ("(A || B) && C", All((Any((Option("A"), Option("B"))), Option("C")))),
        ("A=y", Compared("A", "=", "y")),
        ('A != "x y"', Compared("A", "!=", "x y")),
        ("$(cc-option,-fx)", Option("y")),
        ("A &&", Option("y")),
    ],
)
def test_an_expression(text: str, expression: object) -> None:
    assert parse_expression(text) == expression


@given(st.text('AB()!&|= "$', max_size=30))
def test_any_text_is_an_expression(text: str) -> None:
    parse_expression(text)
