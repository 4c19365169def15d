"""What the pages say of a checkout, typed in a clean copy of this one."""

from __future__ import annotations

import pytest

from readme.pages import PAGES
from readme.plan import IN_THE_COPY, OUTPUT, Typed
from readme.shell import Shell, try_command


@pytest.mark.parametrize("first", [first for first, by in OUTPUT.items() if by == "test_copy.py"])
def test_the_demo_says_what_a_page_shows(first: str, demo: str) -> None:
    shown = next(block for page in PAGES for block in page.blocks if block.lines[0] == first)
    headings = [line for line in shown.lines if line and not line.startswith(" ")][:-1]
    told = demo.splitlines()
    assert [heading for heading in headings if heading not in told] == []
    assert demo.splitlines()[-1].startswith("demo: passed: Linux ")


@pytest.mark.parametrize("typed", IN_THE_COPY, ids=lambda typed: typed.command)
def test_a_command_in_a_checkout_does_what_a_page_says(copy: Shell, typed: Typed) -> None:
    try_command(copy, typed)
