"""Names for code whose module is gone, so that the kernel prints its address alone: `0xffffffffc00882ea`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from kmod_harness.klog.records import KernelRecord

#: As %pS writes what kallsyms does not know (kernel/kallsyms.c, sprint_symbol: 0x%lx), in the kernel's half;
#: not where the `Code:` line says which bytes it could not read.
_RAW = re.compile(r"(?<!bytes at )\b0x(?P<address>ffff[0-9a-f]{12})\b")


def with_names(records: Iterable[KernelRecord], name_of: Callable[[int], str]) -> Iterator[KernelRecord]:
    """Yield the records, with a name in the place of each raw address for which `name_of` gives one.

    name_of: returns "" for an address that it has no name for.
    """

    def named(match: re.Match[str]) -> str:
        return name_of(int(match["address"], 16)) or match[0]

    for record in records:
        if "0xffff" not in record.text:
            yield record
            continue
        text = _RAW.sub(named, record.text)
        prefix = record.raw.removesuffix(record.text)
        yield replace(record, text=text, raw=prefix + text)
