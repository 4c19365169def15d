"""Text of a guest for a terminal, which is to show it and to obey none of it."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Returns a text whose control characters, but for tabs and ends of lines, are shown as `\\x1b`.

    A guest may write what a terminal obeys; /dev/kmsg shows it so as well (kernel/printk/printk.c, 6.1,
    msg_add_ext_text).

    >>> visible("\\x1b[2Jfree text")
    '\\\\x1b[2Jfree text'
    """
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
