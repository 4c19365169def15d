"""The README's pictures: drawn from what was recorded, readable, and small."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from shared.checkout import ROOT

PICTURES = ROOT / "harness/docs/pictures"
TERMINAL = (PICTURES / "terminal.svg").read_text()
_SVG = "{http://www.w3.org/2000/svg}"


def test_the_terminal_is_drawn_from_the_transcript_beside_it(tmp_path: Path) -> None:
    for name in ("terminal.py", "terminal.txt"):
        (tmp_path / name).write_bytes((PICTURES / name).read_bytes())
    subprocess.run([sys.executable, str(tmp_path / "terminal.py"), "draw"], check=True)
    assert (tmp_path / "terminal.svg").read_text() == TERMINAL, "run terminal.py draw"


def test_another_transcript_makes_another_picture(tmp_path: Path) -> None:
    (tmp_path / "terminal.py").write_bytes((PICTURES / "terminal.py").read_bytes())
    lines = "".join(f"line {number}\n" for number in range(60))
    (tmp_path / "terminal.txt").write_text(f"$ true\n\x1b[1;31msplat\x1b[0m <&>\n{lines}{'x' * 300}\n")
    subprocess.run([sys.executable, str(tmp_path / "terminal.py"), "draw"], check=True)
    rows = list(ElementTree.parse(tmp_path / "terminal.svg").getroot().iter(f"{_SVG}text"))
    texts = ["".join(row.itertext()) for row in rows]
    assert texts[:3] == ["$ true", "splat <&>", "line 0"]
    assert next(iter(rows[1])).get("font-weight") == "bold"
    assert "… 33 lines …" in texts
    assert [len(text) for text in texts[-4:]] == [80, 80, 80, 60]
    assert len(texts) == 34


def test_the_terminal_shows_a_run_that_passes_and_one_that_does_not() -> None:
    text = "\n".join("".join(row.itertext()) for row in ElementTree.fromstring(TERMINAL).iter(f"{_SVG}text"))
    assert re.search(r"^\$ kmod-harness run my\.ko -- \./check\.sh$", text, re.MULTILINE)
    assert "kmod-harness: passed" in text
    assert "kmod-harness: splat" in text
    assert "my_write at my.c:" in text


def test_the_terminal_reads_on_a_light_page_and_on_a_dark_one() -> None:
    # it has a background of its own, over all of it, and each colour stands out from that (WCAG 2.2, 1.4.3)
    root = ElementTree.fromstring(TERMINAL)
    background = next(root.iter(f"{_SVG}rect"))
    assert (background.get("width"), background.get("height")) == (root.get("width"), root.get("height"))
    colours = {span.get("fill") for span in root.iter(f"{_SVG}tspan")}
    assert len(colours) >= 4
    for colour in colours:
        assert contrast(str(colour), str(background.get("fill"))) >= 4.5, colour


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["terminal.svg", "explain.png"])
def test_a_picture_is_small(name: str) -> None:
    assert (PICTURES / name).stat().st_size < 300_000
