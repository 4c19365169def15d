"""A console's lines as a person reads them: without priorities, and without what the harness wrote there."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kmod_harness.host.visible import visible

#: What the harness writes into the kernel log to know where it stands (guest/kernel_log.py), with a number.
NONCE = "kmod-harness-nonce "
#: console_msg_format=syslog (kernel/printk/printk.c, 6.1)
_PRIORITY = re.compile(r"^<\d{1,4}>")


def for_reading(lines: Iterable[str]) -> list[str]:
    """Returns the lines without their priorities, less those of the harness; control characters are shown.

    >>> for_reading(["<4>[    1.000000] chardev: hello", "<15>[    1.100000] kmod-harness-nonce 98b4"])
    ['[    1.000000] chardev: hello']
    """
    return [visible(_PRIORITY.sub("", line, count=1)) for line in lines if NONCE not in line]
