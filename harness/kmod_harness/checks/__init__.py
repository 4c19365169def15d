"""The checks of the main job: each returns what was seen, or raises CheckFailed with the evidence.

Tests and the command line share them. One idea a file.
"""

from .callers import Caller, check_init_caller, check_open_caller
from .device import DeviceNode, check_device_node
from .gone import Gone, check_gone, check_nothing_left, device_nodes
from .kernel_symbols import KernelSymbols, check_kernel_symbols, read_slide
from .loading import LoadResult, check_loaded
from .messages import Message, check_messages, check_no_splat
from .module_symbols import ModuleSymbols, check_module_symbols, module_range
from .round_trip import RoundTrip, check_round_trip

__all__ = [
    "Caller",
    "DeviceNode",
    "Gone",
    "KernelSymbols",
    "LoadResult",
    "Message",
    "ModuleSymbols",
    "RoundTrip",
    "check_device_node",
    "check_gone",
    "check_init_caller",
    "check_kernel_symbols",
    "check_loaded",
    "check_messages",
    "check_module_symbols",
    "check_no_splat",
    "check_nothing_left",
    "check_open_caller",
    "check_round_trip",
    "device_nodes",
    "module_range",
    "read_slide",
]
