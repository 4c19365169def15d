"""Bare addresses in a text, each with the name of its function behind it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.kmod.symbols.symbol_files import parse_system_map

_ADDRESS = re.compile(r"\b0xffffffff[0-9a-f]{8}\b")
#: No function is longer: what lies behind its start by more is another's, whose name is not known.
_LONGEST = 1 << 16


def with_address_names(
    text: str, kernel: Kernel, slide: int | None, module_name_of: Callable[[int], str]
) -> str:
    """Returns the text with ` function+0xoffset` behind each address of the kernel's text and of modules.

    slide: the kernel's in bytes, None where it is not known
    module_name_of: gives the name for an address in a module, "" for any other
    """
    if not _ADDRESS.search(text):
        return text
    functions = _functions(kernel) if slide is not None else []

    def named(match: re.Match[str]) -> str:
        address = int(match[0], 16)
        # alone in its line: a word of the stack, which the call before it left there
        before = 1 if text[: match.start()].endswith("\n  ") else 0
        name = module_name_of(address) or _name_in(functions, address - (slide or 0), before)
        return f"{match[0]} {name}" if name else match[0]

    return _ADDRESS.sub(named, text)


def _functions(kernel: Kernel) -> list[tuple[int, str]]:
    """Returns where each function was linked, sorted; [] for a kernel without System.map."""
    if kernel.system_map is None:
        return []
    entries = parse_system_map(kernel.system_map.read_text(errors="replace")).entries
    return sorted((entry.address, entry.name) for entry in entries if entry.type in "tTwW")


def _name_in(functions: Sequence[tuple[int, str]], linked: int, before: int) -> str:
    """Returns the function that has the byte so many bytes before the address."""
    at = bisect_right(functions, linked - before, key=lambda function: function[0]) - 1
    if at < 0 or linked - functions[at][0] >= _LONGEST:
        return ""
    start, name = functions[at]
    return f"{name}+{linked - start:#x}"
