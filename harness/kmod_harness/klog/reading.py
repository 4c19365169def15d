"""A console's lines as a person reads them: without priorities, and without what the harness wrote there."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: What the harness writes into the kernel log to know where it stands (guest/kernel_log.py), with a number.
NONCE = "kmod-harness-nonce "
#: console_msg_format=syslog (kernel/printk/printk.c, 6.1)
_PRIORITY = re.compile(r"^<\d{1,4}>")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def for_reading(lines: Iterable[str]) -> list[str]:
    """Returns the lines without their priorities, less those of the harness; control characters are shown.

    >>> for_reading(["<4>[    1.000000] chardev: hello", "<15>[    1.100000] kmod-harness-nonce 98b4"])
    ['[    1.000000] chardev: hello']
    """
    return [visible(_PRIORITY.sub("", line, count=1)) for line in lines if NONCE not in line]


def visible(text: str) -> str:
    """Returns a text whose control characters, but for tabs and ends of lines, are shown as `\\x1b`.

    A guest may write what a terminal obeys; /dev/kmsg shows it so as well (kernel/printk/printk.c, 6.1,
    msg_add_ext_text).

    >>> visible("\\x1b[2Jfree text")
    '\\\\x1b[2Jfree text'
    """
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
