"""The page in a real browser: light and dark, with and without script, on paper.

Whether it fits the screen is in test_fit.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.browser import Browser

pytestmark = pytest.mark.needs("chromium")


def test_a_script_error_would_be_found(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text("<!doctype html><script>console.log('hello'); missing()</script>")
    browser.open(page, width=360)
    assert any("missing is not defined" in complaint for complaint in browser.complaints)
    assert any("hello" in complaint for complaint in browser.complaints)


def test_what_a_guest_wrote_runs_no_script(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["hostile"], width=1280)
    assert browser.evaluate("document.title").startswith("How a kernel module gets into Linux")
    assert browser.evaluate("document.scripts.length") == 1


def test_scripts_that_are_not_the_pages_own_are_refused(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    # given: text that got past the escaping
    broken = tmp_path / "broken.html"
    broken.write_text(pages["usual"].read_text().replace("<h1", "<script>document.title='taken'</script><h1"))
    browser.open(broken, width=1280)
    assert browser.evaluate("document.title") != "taken"
    assert browser.complaints != []


def test_colours_follow_the_systems_scheme(browser: Browser, pages: dict[str, Path]) -> None:
    colours = []
    for dark in (False, True):
        browser.open(pages["usual"], width=1280, dark=dark)
        colours.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark_ = ([int(v) for v in c.removeprefix("rgb(").rstrip(")").split(",")] for c in colours)
    assert min(light) > 200 and max(dark_) < 60


def shown_panels(browser: Browser) -> object:
    return browser.evaluate(
        "[...document.querySelectorAll('.panel')].map((p, i) => p.offsetHeight ? i + 1 : 0).filter(Boolean)"
    )


def test_the_magnification_works_by_keyboard_and_click_without_script(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.scripts(False)
    try:
        browser.open(pages["usual"], width=1280, height=3000)  # all of it in view: nothing scrolls
        assert shown_panels(browser) == [1]
        # when: the first step has the focus, and the arrow key steps in
        browser.evaluate("document.getElementById('zoom-1').focus()")
        browser.press("ArrowRight")
        browser.press("ArrowRight")
        assert shown_panels(browser) == [3]
        # when: a bar is clicked
        x, y = browser.evaluate(
            "(() => { const box = document.querySelector('.step-5 .bar').getBoundingClientRect();"
            " return [box.x + 5, box.y + 5]; })()"
        )
        browser.click(x, y)
        assert shown_panels(browser) == [5]
    finally:
        browser.scripts(True)


COLUMN = "[...document.querySelectorAll('table.relocations tbody tr')].filter(r => !r.hidden)"


def test_relocations_are_sorted_by_any_column_both_ways(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1280)
    symbols = f"{COLUMN}.map(row => row.cells[2].textContent)"
    press = "document.querySelectorAll('table.relocations th button')[2].click()"
    before = browser.evaluate(symbols)
    browser.evaluate(press)
    ascending = browser.evaluate(symbols)
    browser.evaluate(press)
    assert browser.evaluate(symbols) == ascending[::-1] != ascending
    assert sorted(ascending) == sorted(before)
    addresses = f"{COLUMN}.map(row => row.querySelector('.second .a').textContent)"
    browser.evaluate("document.querySelectorAll('table.relocations th button')[0].click()")
    assert browser.evaluate(addresses) == sorted(browser.evaluate(addresses))


def test_relocations_are_searched(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=360)
    browser.evaluate(
        "(() => { const f = document.getElementById('filter'); f.value = 'PRINTK';"
        " f.dispatchEvent(new Event('input')); })()"
    )
    assert browser.evaluate(f"{COLUMN}.length") == 1
    assert browser.evaluate("document.querySelector('output[for=filter]').textContent") == "1 of 40"


def test_it_prints_on_a_few_pages(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1280, dark=True)
    sheets = browser.pdf().count(b"/Type /Page\n")
    assert 3 <= sheets <= 12
