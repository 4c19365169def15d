"""The page's text: what it must say, what it must not let through, and how large it may become."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kmod_harness.explain.claims.claim import Verdict
from kmod_harness.explain.observed.observations import ExecutedBlock, ExecutedCode
from kmod_harness.explain.page.account import Account
from kmod_harness.explain.page.render import render, verdict_counts, write_page
from unit.explain.page import sample
from unit.explain.page.sample_blocks import by_memory_type

HOSTILE = "</style></script><script>document.title='taken'</script><img src=x onerror=alert(1)>\"'{{ 7*7 }}"


class Words(HTMLParser):
    """The text of a page without style and script, its tags, and its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag in ("style", "script"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self._open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def page() -> str:
    return render(sample.observations(), sample.judged(), sample.measured(), sample.ACCOUNT)


def test_the_page_says_where_it_comes_from(page: str) -> None:
    text = Words(page).text
    for told in (
        "Linux 6.1.192-kmod-harness",
        "tcg: software emulation, because",
        "2026-11-23 00:30 UTC",
        "0x1200000 (18 MiB), by KASLR",
        "make explain",
        sample.measured().module_digest,
    ):
        assert told in text


def test_every_claim_has_its_verdict_and_evidence_of_both_sides_or_the_reason(page: str) -> None:
    articles = re.findall(r'<article id="claim-\d+".*?</article>', page, re.DOTALL)
    assert len(articles) == len(sample.judged())
    for article, claim in zip(articles, sample.judged(), strict=True):
        text = Words(article).text
        assert f"v-{claim.verdict.value}" in article
        assert claim.statement in text and claim.explanation in text
        assert claim.inside.detail.strip() in text
        assert claim.outside.impossible in text and "cannot be seen" in text


def test_of_blocks_apart_nothing_is_said_that_holds_for_one_piece(page: str) -> None:
    seen = by_memory_type(sample.observations())
    text = Words(render(seen, sample.judged(), sample.measured(), sample.ACCOUNT)).text
    assert "here to three places in it, the code to 0xffffffffc00b7000" in text
    assert "Five pages hold the module, in three places." in text
    assert "pages in a row hold" not in text
    assert "checked in Linux 6.1.192; this is 6.12.118-kmod-harness" in text
    # and of one piece it still is
    assert "Five pages in a row hold the module." in Words(page).text
    assert "The addresses follow one another" in Words(page).text


def test_verdicts_are_counted_in_their_order() -> None:
    true = replace(sample.judged()[0], verdict=Verdict.TRUE)
    assert verdict_counts((*sample.judged(), true)) == (
        (Verdict.TRUE, 2),
        (Verdict.IMPRECISE, 1),
        (Verdict.OUTDATED, 1),
        (Verdict.FALSE, 1),
    )


def test_the_way_of_open_is_from_the_program_to_the_module(page: str) -> None:
    way = Words(page).text.split("the program first.", 1)[1]
    places = [way.index(f) for f in ("user mode ends", "do_syscall_64", "chrdev_open", "fops.c:24")]
    assert places == sorted(places)


def test_nothing_of_a_guest_becomes_markup() -> None:
    clean = Words(render(sample.observations(), sample.judged(), sample.measured()))
    hostile = Words(
        render(
            sample.observations(text=HOSTILE, missing=[HOSTILE]),
            sample.judged(HOSTILE),
            sample.measured(HOSTILE),
        )
    )
    assert hostile.tags.count("script") == clean.tags.count("script") == 1
    assert "img" not in hostile.tags
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]
    assert "{{ 7*7 }}" in hostile.text and "onerror" in hostile.text


def test_the_page_asks_for_nothing_outside_itself(page: str) -> None:
    found = Words(page)
    assert not {"link", "img", "iframe", "object", "base"} & set(found.tags)
    links = [value for name, value in found.attributes if name in ("href", "src", "action")]
    assert links and all(link and link.startswith("#") for link in links)
    assert "url(" not in page and "@import" not in page
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link} <= set(ids)


def test_without_vmlinux_the_page_says_what_it_lacks() -> None:
    reason = "without vmlinux no stack could be read"
    html = render(
        sample.observations(with_vmlinux=False, missing=[reason]), sample.judged(), sample.measured()
    )
    assert 'id="open"' not in html and 'href="#open"' not in html
    assert reason in Words(html).text


def test_a_module_without_a_device_is_not_said_to_have_one() -> None:
    text = Words(render(sample.observations(device=""), sample.judged(), sample.measured())).text
    assert "the device" not in text.split("Where it lands")[0]


def test_a_module_that_runs_by_itself_is_said_to() -> None:
    seen = sample.observations()
    busy = ExecutedCode("left alone", 1.0, tuple(ExecutedBlock(sample.BASE + n, 0, 0) for n in range(12)))
    text = Words(
        render(replace(seen, opening=replace(seen.opening, quiet=busy)), sample.judged(), sample.measured())
    ).text
    assert "left alone for 1.0 seconds, it executed 12 blocks of code" in text
    assert "not one of its instructions ran" not in text


def test_unexplained_bytes_are_said_loudly() -> None:
    account = Account(9184, 9021, (("fentry NOP", 162),), findings=("chardev_open+0x4/0x9d: 90 for 91",))
    text = Words(render(sample.observations(), sample.judged(), sample.measured(), account)).text
    assert "Not everything is explained: chardev_open+0x4/0x9d: 90 for 91" in text
    assert "None is left unexplained" not in text


def test_a_large_module_makes_no_large_page(tmp_path: Path) -> None:
    seen = sample.observations(relocation_count=30_000, page_count=500, functions=300, text="x" * 200_000)
    path = write_page(tmp_path, seen, sample.judged("y" * 100_000), sample.measured())
    assert path == tmp_path / "index.html"
    assert path.stat().st_size < 2_000_000
    assert len((tmp_path / "relocations.csv").read_text().splitlines()) == 30_001


def test_a_path_whose_bytes_are_no_text_is_shown_escaped(tmp_path: Path) -> None:
    seen = sample.observations(text="/home/\udcff/chardev")
    page = write_page(tmp_path, seen, sample.judged("/home/\udcff"), sample.measured())
    assert "/home/\\udcff" in page.read_text(encoding="utf-8")
