"""The claims in a real browser: guessed, linked to, then shown by verdict; without script all readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.browser import Browser, overflowing
from unit.explain.page import sample

pytestmark = pytest.mark.needs("chromium")

#: Numbers of the claims whose answers are seen; of those that are seen themselves; what the bar says;
#: the filter's height, 0 while it is not shown.
ANSWERS = (
    "[...document.querySelectorAll('.claim')].filter(c => c.querySelector('.reply').offsetHeight)"
    ".map(c => +c.id.slice(6))"
)
CLAIMS = "[...document.querySelectorAll('.claim')].filter(c => c.offsetHeight).map(c => +c.id.slice(6))"
STATE = "document.querySelector('.quiz-bar output').textContent"
FILTER = "document.querySelector('.by-verdict').offsetHeight"
ALL = [claim.number for claim in sample.judged()]


def press(browser: Browser, selector: str) -> None:
    browser.evaluate(f"document.querySelector({selector!r}).click()")


def test_a_guess_brings_the_verdict_and_the_score(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1280)
    assert browser.evaluate(ANSWERS) == []
    # when: the first claim is imprecise, and the reader says true
    press(browser, "#claim-1 [data-guess=true]")
    assert browser.evaluate(ANSWERS) == [1]
    said = browser.evaluate("document.querySelector('#claim-1 .claim-verdict').innerText")
    assert "imprecise" in said and "you said true" in said
    press(browser, "#claim-2 [data-guess=true]")
    assert browser.evaluate(STATE) == "1 of 2 right."
    assert "as you said" in browser.evaluate("document.querySelector('#claim-2 .claim-verdict').innerText")


def test_all_answers_are_shown_on_request_and_hidden_again(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1280)
    press(browser, ".quiz-all")
    assert browser.evaluate(ANSWERS) == ALL
    press(browser, ".quiz-all")
    assert browser.evaluate(ANSWERS) == []


def test_nothing_tells_an_answer_before_it_is_guessed_or_asked_for(
    browser: Browser, pages: dict[str, Path]
) -> None:
    """Neither verdicts with their colours and counts are seen, nor a filter that would tell them."""
    browser.open(pages["usual"], width=1280)
    telling = (
        "[...document.querySelectorAll('#claims .verdict, #claims [data-show], #claims .tally')]"
        ".filter(e => e.offsetHeight).length"
    )
    assert browser.evaluate(telling) == 0
    press(browser, "#claim-1 [data-guess=true]")
    assert browser.evaluate(telling) == 1, "its own verdict, and no filter by verdicts"
    looks = (
        "[...document.querySelectorAll('button[data-guess]')].filter(b => b.offsetHeight)"
        ".map(b => getComputedStyle(b).color + getComputedStyle(b).backgroundColor)"
    )
    assert len(set(browser.evaluate(looks))) == 1


def test_an_answer_is_told_without_a_guess_and_not_counted(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=360)
    before = browser.evaluate(STATE)
    press(browser, "#claim-2 .reveal")
    assert browser.evaluate(ANSWERS) == [2]
    assert browser.evaluate(STATE) == before


def test_with_all_answers_known_claims_of_one_verdict_can_be_shown(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["usual"], width=360)
    for number in ALL:
        assert not browser.evaluate(FILTER)
        press(browser, f"#claim-{number} [data-guess=true]")
    assert browser.evaluate(FILTER)
    press(browser, "[data-show=false]")
    assert browser.evaluate(CLAIMS) == browser.evaluate(ANSWERS) == [3]
    pressed = "[...document.querySelectorAll('[aria-pressed=true]')].map(b => b.dataset.show)"
    assert browser.evaluate(pressed) == ["false"]
    press(browser, "[data-show='']")
    assert browser.evaluate(CLAIMS) == ALL
    press(browser, "[data-show=false]")
    press(browser, ".quiz-all")
    assert (browser.evaluate(CLAIMS), browser.evaluate(ANSWERS)) == (ALL, [])
    assert not browser.evaluate(FILTER)


def test_a_link_to_a_claim_shows_the_claim_and_not_its_answer(
    browser: Browser, pages: dict[str, Path]
) -> None:
    follow = "new Promise(done => { addEventListener('hashchange', done); location.hash = '#claim-2'; })"
    browser.open(pages["usual"], width=1280)
    browser.evaluate(follow)
    assert browser.evaluate(ANSWERS) == []
    browser.open(pages["usual"], width=1280)
    press(browser, ".quiz-all")
    press(browser, "[data-show=false]")
    browser.evaluate(follow)
    assert browser.evaluate(CLAIMS) == ALL, "the filter hid it"


def test_without_script_every_answer_can_be_read(browser: Browser, pages: dict[str, Path]) -> None:
    browser.scripts(False)
    try:
        browser.open(pages["usual"], width=1280)
        assert browser.evaluate(ANSWERS) == ALL
        assert not browser.evaluate("document.querySelector('.quiz-bar').offsetHeight")
        assert not browser.evaluate("document.querySelector('.guess').offsetHeight")
    finally:
        browser.scripts(True)


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_with_the_answers_shown_it_fits(browser: Browser, pages: dict[str, Path], width: int) -> None:
    for name in ("usual", "hostile"):
        browser.open(pages[name], width=width)
        browser.set_wide()
        press(browser, "#claim-1 [data-guess=outdated]")
        press(browser, ".quiz-all")
        assert overflowing(browser) == []
