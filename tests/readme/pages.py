"""The pages that a user reads, as one text: the README, then those of harness/docs."""

from __future__ import annotations

from shared.checkout import ROOT

#: design.md is for those who work on the harness: unit/front_door/test_design.py looks after it. What
#: configuration.md shows is typed by tests of its own, until plan.py knows its blocks.
_NOT_HERE = ("design.md", "configuration.md")
PAGES = (
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "harness/docs").glob("*.md")) if page.name not in _NOT_HERE),
)
TEXT = "\n\n".join(page.read_text() for page in PAGES)
