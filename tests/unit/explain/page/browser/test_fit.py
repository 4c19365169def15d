"""The page fits every screen in whatever fonts there are: no text is cut, off the screen or over another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.browser import Browser, chromium, overflowing
from shared.checkout import ROOT
from shared.fonts import FONT_SETS, FontSet, only
from unit.explain.page import sample

pytestmark = pytest.mark.needs("chromium")

WIDTHS = (320, 360, 704, 768, 1024, 1280, 1920)
PAGES = ("usual", "hostile", "large", "little")
PACKAGES = ROOT / "harness/scripts/debian-packages.txt"
NOTHING = {width: [] for width in WIDTHS}


def what_does_not_fit(browser: Browser, page: Path, *, wide: bool = False) -> dict[int, list[str]]:
    """What overflows, by the width of the screen."""
    found = {}
    for width in WIDTHS:
        browser.open(page, width=width, dark=width == 360)
        assert browser.evaluate("innerWidth") == width
        if wide:
            browser.set_wide()
        found[width] = overflowing(browser)
        assert browser.complaints == []
    return found


@pytest.mark.parametrize("name", PAGES)
def test_all_fits_in_the_fonts_of_this_machine(browser: Browser, pages: dict[str, Path], name: str) -> None:
    assert what_does_not_fit(browser, pages[name]) == NOTHING


@pytest.mark.parametrize("name", PAGES)
def test_all_fits_in_letters_wider_than_any_usual_font_has_them(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    assert what_does_not_fit(browser, pages[name], wide=True) == NOTHING


@pytest.mark.parametrize(
    "fonts",
    [
        pytest.param(fonts, id=fonts.name, marks=[pytest.mark.needs(fonts.need)] if fonts.need else [])
        for fonts in FONT_SETS
    ],
)
def test_all_fits_where_no_other_fonts_are_installed(
    pages: dict[str, Path], tmp_path: Path, fonts: FontSet
) -> None:
    with chromium(tmp_path / "chromium", only(fonts, tmp_path)) as browser:
        browser.open(pages["usual"], width=1280)
        drawn_in = browser.families()
        assert drawn_in and all(family.startswith(fonts.families) for family in drawn_in), drawn_in
        assert what_does_not_fit(browser, pages["usual"]) == NOTHING
        assert what_does_not_fit(browser, pages["usual"], wide=True) == NOTHING


def test_the_fonts_that_make_test_installs_are_among_those_measured() -> None:
    listed = re.findall(r"^test +fonts-\S+ +file:(\S+)", PACKAGES.read_text(), re.MULTILINE)
    assert len(listed) >= 3
    assert {Path(font).parent for font in listed} <= {fonts.directory for fonts in FONT_SETS}


TOO_MUCH = {
    "wider than the screen": f"<p>{'x' * 500}",
    "wider than its box": "<p style='width: 2rem'>unbroken",
    "cut at the side": "<p style='width: 2rem; overflow: hidden'><b>unbroken</b>",
    "cut below": "<p style='height: .5rem; overflow: hidden'>low",
    "to be scrolled to": "<div style='width: 9em; overflow: auto'><table><td>one<td>unbrokenunbroken</table>",
    "over another": "<p style='height: 0; margin: 0'>this<p style='margin: 0'>that",
}


@pytest.mark.parametrize("body", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_does_not_fit_would_be_found(browser: Browser, tmp_path: Path, body: str) -> None:
    page = tmp_path / "broken.html"
    page.write_text(f"<!doctype html><meta name=viewport content='width=device-width'>{body}")
    browser.open(page, width=360)
    assert overflowing(browser) != []


def test_commands_to_type_wrap_between_words(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=320)
    assert browser.evaluate(
        "(() => { const box = document.querySelector('.commands');"
        " return box.scrollWidth <= box.clientWidth; })()"
    )
    words = browser.evaluate(
        "[...document.querySelectorAll('.commands span')].filter(w => w.textContent.length < 30)"
        ".map(w => w.getClientRects().length)"
    )
    assert words and set(words) == {1}
    copied = browser.evaluate("document.querySelector('.commands').innerText")
    assert copied.splitlines() == list(sample.provenance().commands)


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_what_a_relocation_wrote_is_in_sight(browser: Browser, pages: dict[str, Path], width: int) -> None:
    browser.open(pages["usual"], width=width)
    ends = browser.evaluate(
        "[...document.querySelectorAll('.relocations tbody tr:first-child td')].map(cell => {"
        " const box = cell.getBoundingClientRect(); return [box.left, box.right]; })"
    )
    left, right = browser.evaluate(
        "(() => { const box = document.querySelector('.scroll.tall').getBoundingClientRect();"
        " return [box.left, box.right]; })()"
    )
    assert len(ends) == 5
    assert all(left <= start < end <= right for start, end in ends)


def test_where_a_relocation_is_no_row_its_cells_say_what_they_are(
    browser: Browser, pages: dict[str, Path]
) -> None:
    said = (
        "[...document.querySelectorAll('.relocations tbody tr:first-child td')]"
        ".map(cell => getComputedStyle(cell, '::before').content)"
    )
    browser.open(pages["usual"], width=360)
    assert browser.evaluate(said)[2:] == ['"bound to "', '"its address "', '"bytes written "']
    browser.open(pages["usual"], width=1280)
    assert set(browser.evaluate(said)) == {"none"}


@pytest.mark.parametrize("width", [360, 768])
def test_what_is_counted_never_wraps_under_its_number(
    browser: Browser, pages: dict[str, Path], width: int
) -> None:
    browser.open(pages["large"], width=width)
    browser.set_wide()
    gaps = browser.evaluate(
        "[...document.querySelectorAll('.counts li')].map(item => {"
        " const box = element => element.getBoundingClientRect();"
        " return box(item.lastElementChild).left - box(item.querySelector('.n')).right; })"
    )
    assert gaps and min(gaps) > 0


NAMES = """[...document.querySelectorAll(".bar .name")].filter(name => {
  const box = name.getBoundingClientRect(), text = name.firstElementChild.getBoundingClientRect();
  return text.bottom <= box.bottom;
}).map(name => name.textContent)"""


def test_a_name_is_on_its_part_of_a_bar_where_it_fits(browser: Browser, pages: dict[str, Path]) -> None:
    shown = {}
    for width in (360, 1280):
        browser.open(pages["usual"], width=width)
        shown[width] = browser.evaluate(NAMES)
    assert {"user space", "kernel space", "room for modules"} <= set(shown[360])
    assert "chardev_ioctl" in shown[1280]
    assert "chardev_ioctl" not in shown[360]
