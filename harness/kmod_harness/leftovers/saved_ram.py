"""The RAM of a restored guest as it was when it was saved: the file that its QEMU maps privately."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kmod_harness.machine.memory.physical import ram_ranges

if TYPE_CHECKING:
    from kmod_harness.machine.machine import Machine

#: In QEMU's arguments; a comma in a path is doubled.
_FILE = re.compile(r"memory-backend-file,.*mem-path=((?:[^,]|,,)*),share=off")
_GIB_4 = 1 << 32


@contextlib.contextmanager
def saved_ram(machine: Machine) -> Iterator[Callable[[int, int], bytes] | None]:
    """Gives a function that reads physical memory as it was; None for a machine that was not restored.

    Raises OSError.
    """
    path = next((found[1] for word in machine.argv if (found := _FILE.match(word))), None)
    if path is None:
        yield None
        return
    file = os.open(path.replace(",,", ","), os.O_RDONLY | os.O_CLOEXEC)
    low = ram_ranges(machine.spec.memory_mib)[1].stop

    def read(physical: int, size: int) -> bytes:
        return os.pread(file, size, physical if physical < low else physical - _GIB_4 + low)

    try:
        yield read
    finally:
        os.close(file)
