"""Records that the kernel logged and that did not reach the console."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kmod_harness.klog.reading import NONCE
from kmod_harness.klog.records import KernelRecord

#: A console fell so far behind that its next records were overwritten (kernel/printk/printk.c, 6.1:
#: `dropped_text`; 6.12: console_prepend_dropped). The line has no prefix.
_DROPPED = re.compile(r"\*\* (\d{1,12}) printk messages dropped \*\*")


def dropped(records: Iterable[KernelRecord]) -> int:
    """Return how many records printk says it dropped before a console printed them."""
    return sum(
        int(match[1])
        for record in records
        if not record.has_prefix and (match := _DROPPED.search(record.text[:200]))
    )


def missing(ring: Sequence[KernelRecord], console: Iterable[KernelRecord]) -> list[KernelRecord]:
    """Return the records of the kernel's ring that the console did not carry, line by line, in order."""
    carried = {(_microseconds(record), record.text.strip()) for record in console}
    return [
        line
        for record in ring
        if not record.text.startswith(NONCE)
        for line in _lines(record)
        if (_microseconds(line), line.text.strip()) not in carried
    ]


def _microseconds(record: KernelRecord) -> int | None:
    return None if record.timestamp is None else round(record.timestamp * 1e6)


def _lines(record: KernelRecord) -> list[KernelRecord]:
    """Return a record for each line of a record, as consoles print it; the prefix is a console's."""
    stamp = "" if record.timestamp is None else f"[{record.timestamp:12.6f}] "
    level = "" if record.level is None else f"<{(record.facility or 0) << 3 | record.level}>"
    return [replace(record, text=text, raw=f"{level}{stamp}{text}") for text in record.text.split("\n")]
