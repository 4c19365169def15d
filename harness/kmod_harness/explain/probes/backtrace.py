"""gdb's output at a breakpoint as data: registers, and the stack with its source lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from kmod_harness.explain.observed.observations import Frame

#: `#3  0xffffffff81153269 in do_dentry_open (f=...) at /path/fs/open.c:882`
_FRAME = re.compile(
    r"^#\d+\s+(?:0x(?P<address>[0-9a-f]+) in )?(?P<function>[^\s(]+) \(.*?\)"
    r"(?: at (?P<file>\S+):(?P<line>\d+))?$",
    re.MULTILINE,
)

#: What comes before the last two parts of an absolute path with a line.
_DIRECTORIES = re.compile(r"(?<!\S)/(?:[^\s/]+/)*(?=[^\s/]+/[^\s/]+:\d+)")


def parse_backtrace(text: str, images: Sequence[tuple[range, str]], source: str = "") -> tuple[Frame, ...]:
    """Returns the frames of gdb's `bt`, innermost first, up to the kernel's entry point.

    text: output of `bt`
    images: (range, image) pairs; a frame outside of all ends the stack, which has none beyond the entry point
    source: path that is cut off file names
    """
    found = []
    for match in _FRAME.finditer(text):
        address = int(match["address"] or "0", 16)
        image = next((name for span, name in images if address in span), "")
        if not image:
            break
        file = (match["file"] or "").removeprefix(f"{source}/")
        found.append(Frame(match["function"], address, file, int(match["line"] or 0), image))
        if match["function"].startswith("entry_SYSCALL_64"):
            break
    # an inlined function has no frame: gdb shows it at the address of the function that contains it
    return tuple(
        Frame(
            f.function,
            f.address,
            f.file,
            f.line,
            f.image,
            i + 1 < len(found) and found[i + 1].address == f.address,
        )
        for i, f in enumerate(found)
    )


def without_directories(text: str, source: str = "") -> str:
    """Return gdb's output with its paths cut: the kernel's by `source`, others to their last two parts.

    >>> without_directories("at /home/me/chardev/fops.c:30")
    'at chardev/fops.c:30'
    """
    text = text.replace(f"{source}/", "") if source else text
    return _DIRECTORIES.sub("", text)


def parse_registers(text: str) -> Mapping[str, int]:
    """Returns name -> value from `info registers`, by the first two words of each line."""
    found = re.findall(r"^(\w+)\s+(0x[0-9a-f]+)", text, re.MULTILINE)
    return {name: int(value, 16) for name, value in found}
