"""The pages that a user reads, as one text: the README, then those of harness/docs."""

from __future__ import annotations

from shared.checkout import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "harness/docs").glob("*.md")))
TEXT = "\n\n".join(page.read_text() for page in PAGES)
