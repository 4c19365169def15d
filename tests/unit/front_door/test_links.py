"""Every relative link between the project's texts, and every anchor in them, leads somewhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from shared.checkout import ROOT

TEXTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "buildroot/README.md")),
        *(ROOT / "harness/docs").glob("*.md"),
    ]
)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^    .*$", re.MULTILINE)
_CODE = re.compile(r"(`+).+?\1", re.DOTALL)
_TARGET = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def targets(text: str) -> list[str]:
    """The targets of a text's links and pictures, code left out."""
    return _TARGET.findall(_CODE.sub("", _INDENTED.sub("", _FENCED.sub("", text))))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub and GitLab give to a text's headings; repeated ones are numbered."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCED.sub("", text)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken(text: str, path: Path) -> list[str]:
    """The links of a text at `path` that lead nowhere in this checkout."""
    wrong = []
    for target in targets(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_text_leads_somewhere(path: Path) -> None:
    assert broken(path.read_text(), path) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# `kmod-harness.toml`, and more\n\n## Words\n\n## Words\n")
    text = """\
[good](there.md) [good](there.md#kmod-harnesstoml-and-more) ![good](there.md#words-1) [good](https://a.b)
[over
two lines](nowhere.md) [no anchor](there.md#sentences), `[code](code.md)`

    [code](code.md)

```
[code](code.md)
```
## Own

[own](#own) [not own](#others)
"""
    assert broken(text, tmp_path / "page.md") != []
    (tmp_path / "page.md").write_text(text)
    assert broken(text, tmp_path / "page.md") == ["nowhere.md", "there.md#sentences", "#others"]


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "harness/docs/index.md"
    listed = {target.partition("#")[0] for target in targets(index.read_text())}
    pages = {path.name for path in (ROOT / "harness/docs").glob("*.md")} - {"index.md"}
    assert pages <= listed
