"""The page's text: what it must say, what it must not let through, and how large it may become."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kmod_harness.explain.claims.claim import Verdict
from kmod_harness.explain.observed.code_history import NO_HISTORY
from kmod_harness.explain.observed.observations import ExecutedBlock, ExecutedCode, Observations
from kmod_harness.explain.page.account import Account
from kmod_harness.explain.page.render import render, verdict_counts, write_page
from kmod_harness.explain.page.source_links import TREE
from unit.explain.page import sample, sample_code
from unit.explain.page.sample_blocks import by_memory_type
from unit.explain.sample_claims import ADMISSION

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
    return render(sample.observations(), sample.judged(), sample.provenance(), sample.ACCOUNT)


def test_the_page_says_where_it_comes_from(page: str) -> None:
    text = Words(page).text
    for told in (
        "Linux 6.1.192-kmod-harness",
        "tcg: software emulation, because",
        "2026-11-23 00:30 UTC",
        "0x1200000 (18 MiB), by KASLR",
        "make explain",
        sample.provenance().module_digest,
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
    text = Words(render(seen, sample.judged(), sample.provenance(), sample.ACCOUNT)).text
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


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("KASLR", "KASLR, kernel address space layout randomization, means"),
        ("vmalloc", "vmalloc is its allocator for large pieces of memory"),
    ],
)
def test_a_name_is_explained_where_it_comes_first(page: str, name: str, told: str) -> None:
    text = Words(page).text
    assert text.index(name) == text.index(told)


def test_what_the_compiler_calls_is_explained_at_its_blank() -> None:
    text = Words(render(with_hooks(), sample.judged(), sample.provenance(), sample.ACCOUNT)).text
    assert "blank for __fentry__, the hook for tracers" in text
    assert "blank for __x86_return_thunk, a return that can be made safe" in text
    assert "__fentry__ is" not in text, "and not again at the table"


def with_hooks() -> Observations:
    """A module whose followed function begins with the tracers' hook and ends by the return thunk."""
    seen = sample_code.observations()
    *others, last = [one for one in seen.linking.relocations if one.what.section.name == ".text"]
    thunk = sample.bound(last.what.offset, "__x86_return_thunk", last.target)
    return replace(seen, linking=replace(seen.linking, relocations=(*others, thunk)))


def test_a_name_of_the_table_alone_is_explained_above_it(page: str) -> None:
    seen = replace(with_hooks(), code=NO_HISTORY)
    text = Words(render(seen, sample.judged(), sample.provenance())).text
    assert "__fentry__ is the hook for tracers" in text
    assert text.index("__x86_return_thunk is a return") == text.index("__x86_return_thunk")


def test_the_letters_of_the_formulas_are_explained(page: str) -> None:
    text = Words(page).text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    assert "S: the symbol's address; A: the addend, a number in the note; P: the place of the blank" in text
    example = text.split("One of them, worked out", 1)[1]
    words = [example.index(word) for word in ("the symbol's address", "the addend", "the place")]
    assert words == sorted(words)


def test_the_short_answer_tells_where_the_pages_are_on_this_boot(page: str) -> None:
    assert "may come from anywhere: here from three places in memory." in Words(page).text
    backwards = tuple(
        replace(page, physical=0x400000 - number * 4096) for number, page in enumerate(sample.pages())
    )
    seen = replace(sample.observations(), pages=backwards)
    text = Words(render(seen, sample.judged(), sample.provenance())).text
    assert "on this boot happen to fill one piece of memory, in reverse order." in text
    assert "No two" not in text and "no two of them" not in text


def test_what_the_permissions_mean_is_below_their_table(page: str) -> None:
    assert page.index('class="pages-table"') < page.index("The permissions “in the direct map”")


def test_the_way_of_open_is_from_the_program_to_the_module(page: str) -> None:
    way = Words(page).text.split("the program first.", 1)[1]
    places = [way.index(f) for f in ("user mode ends", "do_syscall_64", "chrdev_open", "fops.c:24")]
    assert places == sorted(places)


def test_nothing_of_a_guest_becomes_markup() -> None:
    clean = Words(render(sample.observations(), sample.judged(), sample.provenance()))
    hostile = Words(
        render(
            sample.observations(text=HOSTILE, missing=[HOSTILE]),
            sample.judged(HOSTILE),
            sample.provenance(HOSTILE),
        )
    )
    assert hostile.tags.count("script") == clean.tags.count("script") == 1
    assert "img" not in hostile.tags
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]
    assert "{{ 7*7 }}" in hostile.text and "onerror" in hostile.text


def test_the_page_asks_for_nothing_outside_itself(page: str) -> None:
    found = Words(page)
    assert not {"img", "iframe", "object", "base"} & set(found.tags)
    links = [value for name, value in found.attributes if name in ("href", "src", "action")]
    # what the browser fetches by itself is the icon, and that is within the page; places in the kernel's
    # source are links for a reader to follow
    icons = [link for link in links if link and link.startswith("data:image/svg+xml;base64,")]
    assert found.tags.count("link") == len(icons) == 1
    sources = [link for link in links if link and link.startswith(f"{TREE}/")]
    assert {name for name, value in found.attributes if value in sources} == {"href"}
    links = [link for link in links if link not in (*icons, *sources)]
    assert links and all(link and link.startswith("#") for link in links)
    assert "url(" not in page and "@import" not in page
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link} <= set(ids)


def test_without_vmlinux_the_page_says_what_it_lacks() -> None:
    reason = "without vmlinux no stack could be read"
    html = render(
        sample.observations(with_vmlinux=False, missing=[reason]), sample.judged(), sample.provenance()
    )
    assert 'id="open"' not in html and 'href="#open"' not in html
    assert reason in Words(html).text


def test_a_module_without_a_device_is_not_said_to_have_one() -> None:
    text = Words(render(sample.observations(device=""), sample.judged(), sample.provenance())).text
    assert "the device" not in text.split("Where it lands")[0]


def test_a_module_that_runs_by_itself_is_said_to() -> None:
    seen = sample.observations()
    busy = ExecutedCode("left alone", 1.0, tuple(ExecutedBlock(sample.BASE + n, 0, 0) for n in range(12)))
    text = Words(
        render(replace(seen, opening=replace(seen.opening, quiet=busy)), sample.judged(), sample.provenance())
    ).text
    assert "left alone for 1.0 seconds, it executed 12 blocks of code" in text
    assert "not one of its instructions ran" not in text


def test_unexplained_bytes_are_said_loudly() -> None:
    account = Account(9184, 9021, (("fentry NOP", 162),), findings=("chardev_open+0x4/0x9d: 90 for 91",))
    text = Words(render(sample.observations(), sample.judged(), sample.provenance(), account)).text
    assert "Not everything is explained: chardev_open+0x4/0x9d: 90 for 91" in text
    assert "None is left unexplained" not in text


def test_a_large_module_makes_no_large_page(tmp_path: Path) -> None:
    seen = sample.observations(relocation_count=30_000, page_count=500, functions=300, text="x" * 200_000)
    path = write_page(tmp_path, seen, sample.judged("y" * 100_000), sample.provenance())
    assert path == tmp_path / "index.html"
    assert path.stat().st_size < 2_000_000
    assert len((tmp_path / "relocations.csv").read_text().splitlines()) == 30_001


def test_a_path_whose_bytes_are_no_text_is_shown_escaped(tmp_path: Path) -> None:
    seen = sample.observations(text="/home/\udcff/chardev")
    page = write_page(tmp_path, seen, sample.judged("/home/\udcff"), sample.provenance())
    assert "/home/\\udcff" in page.read_text(encoding="utf-8")


def test_who_shows_a_link_to_the_page_finds_what_to_show(page: str) -> None:
    named = dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)">', page))
    assert named["og:title"] == "How a kernel module gets into Linux"
    assert named["description"] == named["og:description"]
    assert "4 things people say" in named["description"]
    assert "og:image" not in named
    with_picture = replace(sample.provenance(), picture="https://example.org/explain.png")
    html = render(sample.observations(), sample.judged(), with_picture)
    assert '<meta property="og:image" content="https://example.org/explain.png">' in html


def test_every_heading_and_claim_has_a_link_to_itself(page: str) -> None:
    parts = re.findall(r'<section id="([\w-]+)"', page)
    claims = re.findall(r'<article id="([\w-]+)"', page)
    assert len(parts) >= 8 and len(claims) == len(sample.judged())
    for name in (*parts, *claims):
        assert f'class="permalink" href="#{name}"' in page


def test_a_page_without_what_was_not_asked_says_so() -> None:
    text = Words(render(sample.observations(), sample.judged(), sample.provenance())).text
    assert "does not tell whether it checks" in text
    assert "no pattern: no device asks for it" in text


def test_what_comes_around_a_load_is_told_with_this_boots_evidence() -> None:
    admission = replace(ADMISSION, checks_signatures=True, enforces_signatures="N")
    seen = replace(sample.observations(), admission=admission)
    text = Words(render(seen, sample.judged(), sample.provenance())).text
    around = text.split("Around the load", 2)[2].split("What people say about it")[0]
    assert "virtio:d00000003v00001AF4" in around
    assert "the kernel checks signatures, and does not insist; chardev.ko has no signature" in around
    for word in ("modprobe", "depmod", "udev", "MODALIAS", "Secure Boot"):
        assert word in around
