"""Places in the kernel's source as links to its tree, at the release they were looked up in. Pure."""

from __future__ import annotations

import re

from markupsafe import Markup

from kmod_harness.explain.claims.checked_release import CHECKED_RELEASE
from kmod_harness.explain.page.wording import bounded

TREE = "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git/tree"
#: `fs/char_dev.c:373`, `arch/x86/Makefile`, and in a list behind it `, 414`: another line of the same file.
_PLACE = re.compile(
    r"(?P<path>\b(?:[a-z][\w-]*/)+(?:[\w-]+\.(?:c|h|S|tbl)\b|Makefile))(?::(?P<line>\d+))?"
    r"|(?<=, )(?P<more>\d+)\b"
)
#: A release as its tag has it: a third number of 0 is no release of the stable tree but a distribution's.
_EXACT = re.compile(r"\d+\.\d+\.[1-9]\d*(?![\d.])")


def place_url(path: str, line: int = 0, release: str = CHECKED_RELEASE) -> str:
    """Return the address of a file of the kernel's, of a line in it where one is given."""
    return f"{TREE}/{path}?h=v{release}{f'#n{line}' if line else ''}"


def exact_release(running: str) -> str:
    """Return the stable release that a running kernel was built from, "" where its name does not tell.

    >>> exact_release("6.1.192-kmod-harness"), exact_release("6.1.0-56-cloud-amd64")
    ('6.1.192', '')
    """
    match = _EXACT.match(running)
    return match[0] if match else ""


def linked_places(text: str) -> Markup:
    """Return a claim's source with each place as a link."""
    parts, last, path = [], 0, ""
    text = bounded(text)
    for match in _PLACE.finditer(text):
        path = match["path"] or path
        if not path:
            continue
        parts += [
            Markup.escape(text[last : match.start()]),
            _link(match[0], path, int(match["line"] or match["more"] or 0)),
        ]
        last = match.end()
    return Markup("").join([*parts, Markup.escape(text[last:])])


def _link(words: str, path: str, line: int) -> Markup:
    return Markup('<a href="{}">{}</a>').format(place_url(path, line), words)
