"""The page that lies in the docs: by the templates and claims as they are, and of nobody's own machine.

When a test here fails, render it again: `make page` (half a minute), and look at it before it is committed.
"""

from __future__ import annotations

import re
from html import unescape

import pytest

from kmod_harness.explain.claims.catalogue import CLAIMS
from kmod_harness.explain.page.render import templates_digest
from shared.checkout import ROOT

PAGE = ROOT / "harness/docs/explain/index.html"
PICTURE = ROOT / "harness/docs/pictures/explain.png"
AGAIN = "render it again: make page"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_it_was_rendered_by_the_templates_as_they_are(page: str) -> None:
    said = re.search(r'<meta name="generator" content="[^"]*templates (\w+)">', page)
    assert said and said[1] == templates_digest(), AGAIN


def test_it_has_the_claims_as_they_are(page: str) -> None:
    words = unescape(re.sub(r"<[^>]+>", "", page))
    for claim in CLAIMS:
        assert claim.statement in words, AGAIN
        assert claim.usual_belief in words, AGAIN


def test_it_tells_nothing_of_the_machine_that_made_it(page: str) -> None:
    assert not re.findall(r"(?<![\w.])/(?:home|root|work|tmp|Users)/[^\s<]*", page)


def test_it_was_measured_with_everything_there_is_to_see(page: str) -> None:
    for part in ("steps", "pages", "timeline", "open", "claims"):
        assert f'<section id="{part}"' in page
    assert "What could not be looked at" not in page
    assert "None is left unexplained." in page


def test_page_and_picture_are_of_a_size_for_a_repository() -> None:
    assert PAGE.stat().st_size < 1_500_000
    assert PICTURE.stat().st_size < 300_000
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in PAGE.parent.iterdir()] == ["index.html"]
