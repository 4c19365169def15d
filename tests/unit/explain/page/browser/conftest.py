"""A browser, and pages for it to show, made from a boot that never was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness.explain.observed.observations import Observations
from kmod_harness.explain.page.render import render
from shared.browser import Browser, chromium
from unit.explain.page import sample, sample_code
from unit.explain.page.test_page import HOSTILE


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by name: of the sample driver, of one that is large, of one that is little, of one that lies."""
    directory = tmp_path_factory.mktemp("pages")

    def with_code(seen: Observations) -> Observations:
        bound = seen.linking.relocations
        return replace(seen, code=sample_code.history(seen.module.data, bound, 0x14B))

    long_name = "a_module_whose_name_is_as_long_as_the_kernel_allows_it_to_be"
    long = "unbroken" * 200
    large = sample.observations(
        name=long_name, relocation_count=5000, page_count=500, functions=400, text=long
    )
    little = sample.observations(device="", with_vmlinux=False, relocation_count=0, missing=["no vmlinux"])
    usual = sample.observations(relocation_count=40)
    hostile = sample.observations(text=HOSTILE, page_count=24)
    usual, hostile, large = (with_code(seen) for seen in (usual, hostile, large))
    made = {
        "usual": render(usual, sample.judged(), sample.provenance(), sample.ACCOUNT),
        "hostile": render(hostile, sample.judged(HOSTILE), sample.provenance(HOSTILE)),
        "large": render(large, sample.judged(long), sample.provenance(long), sample.ACCOUNT),
        "little": render(little, sample.judged(), sample.provenance()),
    }
    for name, html in made.items():
        (directory / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: directory / f"{name}.html" for name in made}
