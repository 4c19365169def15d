"""Text of a guest for a terminal, which is to show it and to obey none of it."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: The same of a piece of output, which may end within a character of several bytes.
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")


def visible(text: str) -> str:
    """Returns a text whose control characters, but for tabs and ends of lines, are shown as `\\x1b`.

    A guest may write what a terminal obeys; /dev/kmsg shows it so as well (kernel/printk/printk.c, 6.1,
    msg_add_ext_text).

    >>> visible("\\x1b[2Jfree text")
    '\\\\x1b[2Jfree text'
    """
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def visible_bytes(data: bytes) -> bytes:
    """Returns a piece of a program's output, with its control characters shown as `visible` shows them.

    A carriage return stays: progress is shown by it.
    """
    return _CONTROL_BYTES.sub(lambda found: b"\\x%02x" % found[0][-1], data)
