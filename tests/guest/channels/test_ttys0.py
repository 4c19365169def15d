"""ttyS0: what its log file holds while somebody is connected to the port."""

from __future__ import annotations

from kmod_harness.guest.guest import Guest
from kmod_harness.machine.interrogation import sending_only

LINES = 400


def test_a_connection_that_reads_nothing_doubles_no_byte(guest: Guest) -> None:
    """A socket holds some 270 single bytes; of one that it refuses QEMU logs a copy at each try."""
    with sending_only(guest.machine):
        guest.run(["sh", "-c", f"for i in $(seq {LINES}); do echo line $i of $i >/dev/kmsg; done"])
        guest.kernel_log.sync(guest.syscaller)
    said = [record.text for record in guest.kernel_log.since(0) if record.text.startswith("line ")]
    assert said == [f"line {i} of {i}" for i in range(1, LINES + 1)]
