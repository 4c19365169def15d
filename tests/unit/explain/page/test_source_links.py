"""Places in the kernel's source as links to its tree."""

from __future__ import annotations

import re

import pytest

from kmod_harness.explain.claims.catalogue import CLAIMS
from kmod_harness.explain.claims.claim import Claim
from kmod_harness.explain.page.source_links import TREE, exact_release, linked_places, place_url


def targets(text: str) -> list[str]:
    return re.findall(r'href="([^"]*)"', linked_places(text))


def test_a_place_leads_to_its_line_at_the_release_it_was_looked_up_in() -> None:
    assert place_url("fs/open.c", 882) == f"{TREE}/fs/open.c?h=v6.1.192#n882"
    assert place_url("fs/open.c", 882, "6.12.118") == f"{TREE}/fs/open.c?h=v6.12.118#n882"
    assert place_url("arch/x86/Makefile") == f"{TREE}/arch/x86/Makefile?h=v6.1.192"


def test_a_number_alone_is_another_line_of_the_same_file() -> None:
    text = "fs/char_dev.c:373 chrdev_open, 414 the call; fs/open.c:882 (Linux 6.1.192)"
    assert targets(text) == [
        place_url("fs/char_dev.c", 373),
        place_url("fs/char_dev.c", 414),
        place_url("fs/open.c", 882),
    ]


def test_the_words_stay_as_they_were() -> None:
    text = "mm/vmalloc.c:2989 vm_area <b>, 3 pages; 12 more"
    assert (
        re.sub(r"</?a[^>]*>", "", linked_places(text))
        == "mm/vmalloc.c:2989 vm_area &lt;b&gt;, 3 pages; 12 more"
    )


def test_what_names_no_place_is_no_link() -> None:
    assert linked_places("insmod(8), 5 times") == "insmod(8), 5 times"


@pytest.mark.parametrize(
    ("running", "release"),
    [
        ("6.1.192-kmod-harness", "6.1.192"),
        ("6.12.118+deb13-cloud-amd64", "6.12.118"),
        # Debian 12's 6.1.0 is the name of an ABI
        ("6.1.0-56-cloud-amd64", ""),
        ("6.19-rc3", ""),
    ],
)
def test_only_a_release_that_names_itself_is_linked_to(running: str, release: str) -> None:
    assert exact_release(running) == release


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.key for claim in CLAIMS])
def test_every_claim_has_a_source_that_can_be_followed(claim: Claim) -> None:
    assert targets(claim.source)
    # every file is named by its whole path
    assert len(re.findall(r"[\w/.-]+\.[chS]\b", claim.source)) <= len(targets(claim.source))
