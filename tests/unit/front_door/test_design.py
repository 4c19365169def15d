"""harness/docs/design.md against the tree: its files, its layers, and the decisions that code cites."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from shared.checkout import ROOT

PAGE = (ROOT / "harness/docs/design.md").read_text()
#: A citation in a comment or docstring, over a line's end too: "docs/design.md, decisions 4 and 5".
_CITED = re.compile(r"(docs/)?design(?:\.md)?(?:'s)?,?[\s#]+decisions?[\s#]+(\d+(?:[\s#]+and[\s#]+\d+)*)")
_DECISION = re.compile(r"^### (\d+)\. ", re.MULTILINE)


def sources() -> list[Path]:
    return [
        path
        for top in ("harness", "tests", "modules", "kernel-config")
        for path in sorted((ROOT / top).rglob("*"))
        if path.suffix in (".py", ".c", ".h", ".sh", ".config") and path.is_file()
    ]


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:harness|tests|modules|kernel-config|buildroot)/[\w./-]*)`", PAGE)
    assert len(named) > 20
    missing = [name for name in named if not (ROOT / name.replace("NAME", "debug")).exists()]
    assert missing == []


def test_the_layers_are_those_of_the_contract_from_top_to_bottom() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = config["tool"]["importlinter"]["contracts"][0]["layers"]
    section = PAGE.split("## The layers")[1].split("\n## ")[0]
    rows = re.findall(r"^\| [\w' -]+ \| (`.*) \|$", section, re.MULTILINE)
    rooms = [set(re.findall(r"(?:^|· )`(\w+)`:", row)) for row in rows]
    assert rooms == [set(re.split(r" [|:] ", layer)) for layer in contract]


def test_the_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(number) for number in _DECISION.findall(PAGE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_decision_that_code_cites_is_on_the_page_and_cited_by_its_path() -> None:
    found = [(path, match) for path in sources() for match in _CITED.finditer(path.read_text())]
    cited = {number for _, match in found for number in re.findall(r"\d+", match[2])}
    assert cited, "no code cites a decision: is it looked for in the right way?"
    assert cited <= set(_DECISION.findall(PAGE))
    assert [f"{path}: {match[0]}" for path, match in found if not match[1]] == []
