"""The page in a real browser: wide and narrow, light and dark, with and without script, on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import explain_sample as sample
import pytest
from browser import Browser, chromium, overflowing
from test_explain_page import HOSTILE

from kmod_harness.explain import render

pytestmark = pytest.mark.needs("chromium")

PAGES_AND_WIDTHS = (
    *(("usual", width) for width in (320, 360, 768, 1280, 1920)),
    *((name, width) for name in ("hostile", "large", "little") for width in (360, 1280)),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("pages")
    long_name = "a_module_whose_name_is_as_long_as_the_kernel_allows_it_to_be"
    long = "unbroken" * 200
    large = sample.observations(
        name=long_name, relocation_count=5000, page_count=500, functions=400, text=long
    )
    little = sample.observations(device="", with_vmlinux=False, relocation_count=0, missing=["no vmlinux"])
    usual = sample.observations(relocation_count=40)
    hostile = sample.observations(text=HOSTILE)
    made = {
        "usual": render(usual, sample.outcomes(), sample.measured(), sample.ACCOUNT),
        "hostile": render(hostile, sample.outcomes(HOSTILE), sample.measured(HOSTILE)),
        "large": render(large, sample.outcomes(long), sample.measured(long), sample.ACCOUNT),
        "little": render(little, sample.outcomes(), sample.measured()),
    }
    for name, html in made.items():
        (directory / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: directory / f"{name}.html" for name in made}


@pytest.mark.parametrize(("name", "width"), PAGES_AND_WIDTHS)
def test_nothing_complains_and_nothing_overflows(
    browser: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    browser.open(pages[name], width=width, dark=width == 360)
    assert browser.evaluate("innerWidth") == width
    assert overflowing(browser) == []
    assert browser.complaints == []


def test_an_overflowing_element_would_be_found(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text("<!doctype html><meta name=viewport content='width=device-width'><p>" + "x" * 500)
    browser.open(page, width=360)
    assert overflowing(browser) != []


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
    symbols = f"{COLUMN}.map(row => row.cells[3].textContent)"
    press = "document.querySelectorAll('table.relocations th button')[3].click()"
    before = browser.evaluate(symbols)
    browser.evaluate(press)
    ascending = browser.evaluate(symbols)
    browser.evaluate(press)
    assert browser.evaluate(symbols) == ascending[::-1] != ascending
    assert sorted(ascending) == sorted(before)
    addresses = f"{COLUMN}.map(row => row.cells[0].textContent)"
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
