"""The checks of the main job: each returns what was seen, or raises CheckFailed with the evidence.

Tests and the command line share them. One idea a file.

Names are looked up on first use: `run` needs few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .callers import Caller as Caller
    from .callers import check_init_caller as check_init_caller
    from .callers import check_open_caller as check_open_caller
    from .device import DeviceNode as DeviceNode
    from .device import check_device_node as check_device_node
    from .gone import Gone as Gone
    from .gone import check_gone as check_gone
    from .gone import check_nothing_left as check_nothing_left
    from .gone import device_nodes as device_nodes
    from .kernel_symbols import KernelSymbols as KernelSymbols
    from .kernel_symbols import check_kernel_symbols as check_kernel_symbols
    from .kernel_symbols import read_slide as read_slide
    from .loading import LoadResult as LoadResult
    from .loading import check_loaded as check_loaded
    from .messages import Message as Message
    from .messages import check_messages as check_messages
    from .messages import check_no_splat as check_no_splat
    from .module_symbols import ModuleSymbols as ModuleSymbols
    from .module_symbols import check_module_symbols as check_module_symbols
    from .module_symbols import module_range as module_range
    from .round_trip import RoundTrip as RoundTrip
    from .round_trip import check_round_trip as check_round_trip

_NAMES_BY_FILE = {
    "callers": ("Caller", "check_init_caller", "check_open_caller"),
    "device": ("DeviceNode", "check_device_node"),
    "gone": ("Gone", "check_gone", "check_nothing_left", "device_nodes"),
    "kernel_symbols": ("KernelSymbols", "check_kernel_symbols", "read_slide"),
    "loading": ("LoadResult", "check_loaded"),
    "messages": ("Message", "check_messages", "check_no_splat"),
    "module_symbols": ("ModuleSymbols", "check_module_symbols", "module_range"),
    "round_trip": ("RoundTrip", "check_round_trip"),
}
_FILE_OF = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}


def __getattr__(name: str) -> object:
    """Returns a public name from its file (PEP 562)."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
