"""The first drawing in a real browser: five steps, by click, by keyboard, without script, on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.browser import Browser, overflowing

pytestmark = pytest.mark.needs("chromium")

STEPS = (1, 2, 3, 4, 5)
#: The text of the listing as it is shown, a line for each row.
LISTING = "document.querySelector('.listing').innerText"
SHOWN = "[...document.querySelectorAll('.caption')].map((c, i) => c.offsetHeight ? i + 1 : 0).filter(Boolean)"


def choose(browser: Browser, step: int) -> None:
    browser.evaluate(f"document.getElementById('step-{step}').click()")


def test_it_is_in_the_first_screen(browser: Browser, pages: dict[str, Path]) -> None:
    for width, height in ((360, 780), (768, 1024), (1280, 800), (1920, 1080)):
        browser.open(pages["usual"], width=width, height=height)
        scene = browser.evaluate("document.querySelector('.scene').getBoundingClientRect().bottom")
        assert scene <= height, width
    assert browser.evaluate("document.querySelector('.listing').getBoundingClientRect().bottom") <= 1080


def test_the_bytes_change_from_step_to_step(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1280)
    seen = []
    for step in STEPS:
        choose(browser, step)
        assert browser.evaluate(SHOWN) == [step]
        seen.append(browser.evaluate(LISTING))
    file, room, links, locked, running = seen
    assert "call ?" in file and "call ?" in room and file != room
    assert "call ?" not in links and "call _printk" in links and "call __fentry__" in links
    assert "0f 1f 44 00 00" in locked and "call __fentry__" not in locked
    assert locked == running


def test_the_hook_is_explained_where_it_is_first_seen(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=360)
    text = browser.evaluate("document.body.innerText")
    assert text.index("__fentry__") == text.index("__fentry__, the hook for tracers")


def test_the_device_is_there_from_init_on(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1280)
    seen = []
    for step in STEPS:
        choose(browser, step)
        # innerText: what is drawn
        seen.append("/dev/chardev0" in browser.evaluate("document.querySelector('.scene').innerText"))
    assert seen == [False, False, False, False, True]


def test_a_phone_shows_the_name_of_the_active_step_alone(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=360)
    for step, name in zip(STEPS, ("A file", "Room", "Links", "Permissions", "Init"), strict=True):
        choose(browser, step)
        assert browser.evaluate("document.querySelector('.rail').innerText").split("\n") == [
            *map(str, range(1, step + 1)), name, *map(str, range(step + 1, 6))
        ]  # fmt: skip


def test_on_a_phone_next_is_below_the_bytes_and_leads_to_the_next_text(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["usual"], width=360, height=780)
    for step in STEPS[:-1]:
        browser.evaluate("document.querySelector('.next').scrollIntoView({block: 'end'})")
        x, y, above = browser.evaluate(
            "(() => { const box = e => document.querySelector(e).getBoundingClientRect();"
            " const next = box('.next'); return [next.x + next.width / 2, next.y + next.height / 2,"
            " box('.listing').bottom <= next.top]; })()"
        )
        assert above
        browser.click(x, y)
        assert browser.evaluate(SHOWN) == [step + 1]
        top, bottom = browser.evaluate(
            f"(() => {{ const box = document.querySelector('.caption-{step + 1}').getBoundingClientRect();"
            " return [box.top, box.bottom]; })()"
        )
        assert top >= 0 and bottom <= 780, "the next step's text is in sight"


def test_it_works_by_keyboard_and_click_without_script(browser: Browser, pages: dict[str, Path]) -> None:
    browser.scripts(False)
    try:
        browser.open(pages["usual"], width=1280, height=1000)
        assert browser.evaluate(SHOWN) == [1]
        browser.press("Tab")
        while browser.evaluate("document.activeElement.name") != "step":
            browser.press("Tab")
        for step in STEPS[1:]:
            browser.press("ArrowRight")
            assert browser.evaluate(SHOWN) == [step]
        x, y = browser.evaluate(
            "(() => { const box = document.querySelector('.rail-3').getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        browser.click(x, y)
        assert browser.evaluate(SHOWN) == [3]
    finally:
        browser.scripts(True)


@pytest.mark.parametrize("name", ["usual", "hostile"])
@pytest.mark.parametrize("wide", [False, True])
def test_every_step_fits(browser: Browser, pages: dict[str, Path], name: str, wide: bool) -> None:
    for width in (320, 768, 1280):
        browser.open(pages[name], width=width)
        if wide:
            browser.set_wide()
        for step in STEPS[1:]:
            choose(browser, step)
            assert overflowing(browser) == [], (width, step)


def test_nothing_moves_for_a_reader_who_wants_that(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1280)  # as the browser is set up here: prefers-reduced-motion
    choose(browser, 2)
    moving = "document.getAnimations().filter(a => a.playState === 'running').length"
    assert browser.evaluate(moving) == 0
