"""The pages that a user reads: the README, then those of harness/docs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from readme.blocks import Block, blocks
from shared.checkout import ROOT


@dataclass(frozen=True)
class Page:
    """name: its path in the checkout. text: Markdown."""

    name: str
    text: str

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return blocks(self.text)


def _page(name: str) -> Page:
    return Page(name, (ROOT / name).read_text())


README = _page("README.md")
#: Typed from top to bottom in one directory.
GETTING_STARTED = _page("harness/docs/getting-started.md")
DOCS = tuple(_page(str(path.relative_to(ROOT))) for path in sorted((ROOT / "harness/docs").glob("*.md")))
PAGES = (README, *DOCS)
TEXT = "\n\n".join(page.text for page in PAGES)
