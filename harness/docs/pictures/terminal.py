"""The README's picture of a terminal: `record` types the commands and keeps what came, `draw` makes the SVG.

    .venv/bin/python harness/docs/pictures/terminal.py record   # writes terminal.txt and terminal.svg
    .venv/bin/python harness/docs/pictures/terminal.py draw     # terminal.svg from terminal.txt

terminal.txt is what a terminal of 80 columns got, escape sequences and all; nothing in it is edited. The
picture shows it as that terminal does, a long line in several; the middle of a long output is left out.
A test draws it again and compares.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
TRANSCRIPT, PICTURE = HERE / "terminal.txt", HERE / "terminal.svg"
#: Somebody's module that has a bug, and the script that does not find it.
DRIVER = HERE.parents[2] / "tests/readme/stranger"
COMMANDS = ("kmod-harness run my.ko -- ./check.sh", "kmod-harness run my.ko -- sh -c 'echo oops >/dev/my'")

COLUMNS = 80
#: Of an output with more lines these are drawn: from its beginning, and from its end.
FIRST, LAST = 11, 18
#: Pixels: a character's width, a line's height, the edge's.
WIDTH, HEIGHT, EDGE = 8.4, 18, 16
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace"
#: The picture brings its own background, so that it reads the same on a light page and on a dark one.
BACKGROUND, TEXT, FAINT, PROMPT = "#1b1f24", "#e6e8eb", "#9aa4af", "#7ee2a8"
#: By the parameter of the escape sequence: red, green, yellow, blue.
COLOURS = {"31": "#ff8e85", "32": "#7ee2a8", "33": "#f0c66b", "34": "#8fbcff"}
#: Column, text, SVG attributes.
Span = tuple[int, str, str]
_ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")


def draw(transcript: str) -> str:
    """Return the SVG of a transcript."""
    rows = [row for line in _shown(transcript) for row in _wrapped(line)]
    width, height = round(COLUMNS * WIDTH + 2 * EDGE), len(rows) * HEIGHT + 2 * EDGE
    texts = "\n".join(_text(row, EDGE + (number + 0.75) * HEIGHT) for number, row in enumerate(rows))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="{FONT}" font-size="14" role="img">\n'
        f"<title>{escape('; '.join(COMMANDS))}</title>\n"
        f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>\n{texts}\n</svg>\n'
    )


def _shown(transcript: str) -> Iterator[str]:
    """The lines to draw; an empty one stands before each command but the first."""
    for number, part in enumerate(re.split(r"^(?=\$ )", transcript, flags=re.MULTILINE)[1:]):
        command, *output = part.rstrip("\n").split("\n")
        if number:
            yield ""
        yield command
        if len(output) > FIRST + LAST + 1:
            yield from output[:FIRST]
            yield f"\x1b[2m… {len(output) - FIRST - LAST} lines …\x1b[0m"
            output = output[-LAST:]
        yield from output


def _wrapped(line: str) -> list[list[Span]]:
    """Return the rows that a line takes in a terminal."""
    rows: list[list[Span]] = [[]]
    column = 0
    for text, style in _spans(line):
        while text:
            if column == COLUMNS:
                rows.append([])
                column = 0
            piece, text = text[: COLUMNS - column], text[COLUMNS - column :]
            rows[-1].append((column, piece, style))
            column += len(piece)
    return rows


def _text(row: list[Span], y: float) -> str:
    """One row: a span for each style, as wide as its characters are in a terminal, whatever the font."""
    spans = (
        f'<tspan x="{EDGE + column * WIDTH:.1f}" textLength="{len(text) * WIDTH:.1f}" {style}>'
        f"{escape(text, quote=False)}</tspan>"
        for column, text, style in row
        if text.strip()
    )
    return f'<text xml:space="preserve" y="{y:.1f}">{"".join(spans)}</text>'


def _spans(line: str) -> Iterator[tuple[str, str]]:
    """Return a line's pieces, each with the SVG attributes of its style."""
    if line.startswith("$ "):
        yield "$ ", f'fill="{PROMPT}"'
        yield line[2:], f'fill="{TEXT}" font-weight="bold"'
        return
    style = f'fill="{TEXT}"'
    for number, piece in enumerate(_ESCAPE.split(line)):
        if number % 2 == 0:
            yield piece, style
        else:
            style = _style(piece.split(";"))


def _style(codes: list[str]) -> str:
    """Return the attributes for the parameters of an SGR sequence (ECMA-48, 8.3.117)."""
    colour = next((COLOURS[code] for code in codes if code in COLOURS), FAINT if "2" in codes else TEXT)
    return f'fill="{colour}"' + (' font-weight="bold"' if "1" in codes else "")


def record() -> str:
    """Build the module in a directory of its own; return what the commands print there."""
    import pexpect

    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": programs, "TERM": "xterm"}
    # the directory is in the picture: a short one, which a person could have
    with tempfile.TemporaryDirectory(prefix="driver-") as scratch:
        driver = Path(scratch) / "driver"
        shutil.copytree(DRIVER, driver)
        build = "make -C $(kmod-harness kernel dir minimal) M=$PWD modules"
        subprocess.run(["bash", "-c", build], cwd=driver, env=environment, check=True, capture_output=True)
        transcript = ""
        for command in COMMANDS:
            child = pexpect.spawn(
                "bash",
                ["-c", command],
                cwd=str(driver),
                env=environment,
                dimensions=(50, 80),
                timeout=300,
                encoding="utf-8",
            )
            transcript += f"$ {command}\n" + child.read().replace("\r\n", "\n")
            child.close()
    return transcript


def main() -> int:
    if sys.argv[1:] not in (["record"], ["draw"]):
        print(__doc__, file=sys.stderr)
        return 2
    if sys.argv[1] == "record":
        TRANSCRIPT.write_text(record())
    PICTURE.write_text(draw(TRANSCRIPT.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
