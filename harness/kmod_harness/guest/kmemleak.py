"""kmemleak, the kernel's detector of memory that nothing points to any more."""

from __future__ import annotations

import os

from kmod_harness.errors import MachineFailure
from kmod_harness.guest.kernel_log import KernelLog
from kmod_harness.guest.process import Process
from kmod_harness.machine.machine import Machine

#: Seconds after which kmemleak suspects an object, and a little more.
_AGE = 5.1
_VERBOSE = "/sys/module/kmemleak/parameters/verbose"


def scan(machine: Machine, process: Process, log: KernelLog) -> bool:
    """Has the kernel look for leaked memory, and tell in its log; False where it has no kmemleak.

    An object is suspected when it is 5 s old and has not changed since the scan before (MSECS_MIN_AGE,
    update_checksum, mm/kmemleak.c, 6.1): there are two scans, so far apart. Raises MachineFailure when
    kmemleak has switched itself off.
    """
    try:
        process.write_file(_VERBOSE, b"1")  # each object with its backtrace
        with process.open("/sys/kernel/debug/kmemleak", os.O_WRONLY) as file:
            file.write(b"scan")
            machine.settle(_AGE)
            file.write(b"scan")
    except FileNotFoundError:
        return False
    except PermissionError:
        raise MachineFailure(
            "the kernel's leak detector has switched itself off: a leak would go unseen",
            evidence=log.text_since(0)[-2000:],
            advice="more memory for the guest (--memory) leaves it its own",
        ) from None
    return True
