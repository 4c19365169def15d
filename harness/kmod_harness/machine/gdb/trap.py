"""A breakpoint at which the kernel has reported an oops and not yet killed the task: the stack is whole.

It is set through QEMU's gdb stub, which the kernel cannot see; guests run as fast as without it.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from kmod_harness.errors import KmodHarnessError, QemuDied
from kmod_harness.machine.qmp import CommandRefused

if TYPE_CHECKING:
    from kmod_harness.machine.machine import Machine

#: A function that every oops calls, and nothing else: `oops_end` calls it before it ends the task
#: (arch/x86/kernel/dumpstack.c, 6.1). Code on its page runs seldom, so that emulation stays fast.
OOPS_EXIT = "oops_exit"
#: Seconds in which QEMU answers; it takes milliseconds.
_SECONDS = 10.0


class Trap:
    """A breakpoint at `address`, at which the guest stops until `handle_hit` has called `act`, once.

    It is requested when the object is made, and surely set after `await_set`. `fileno` is readable when
    the guest has stopped there. `problem` is why `act` failed, "" otherwise.
    """

    def __init__(self, machine: Machine, address: int, act: Callable[[], None]) -> None:
        self._machine = machine
        self._act = act
        self._received = b""
        self.problem = ""
        self._end, theirs = socket.socketpair()
        self._end.setblocking(False)
        end_of_stub = {"addr": {"type": "fd", "data": {"str": "trap"}}, "server": False}
        with theirs:
            # not awaited here: three answers take QEMU as long as starting a guest
            self._answers = [
                machine.begin("getfd", {"fdname": "trap"}, theirs.fileno()),
                machine.begin(
                    "chardev-add", {"id": "trap", "backend": {"type": "socket", "data": end_of_stub}}
                ),
                machine.begin("human-monitor-command", {"command-line": "gdbserver chardev:trap"}),
            ]
        # the stub reads this when it opens, which stops the guest; a hardware breakpoint changes no byte
        self._end.sendall(_packet(f"Z1,{address:x},1") + _packet("vCont;c"))

    def await_set(self) -> None:
        """Returns when the breakpoint is surely set. Raises QemuDied."""
        try:
            for answer in self._answers:
                answer.result(_SECONDS)
            # the answer arrives when the guest runs on
            self._await(b"$OK#")
        except (OSError, CommandRefused) as error:
            raise QemuDied(f"QEMU sets no breakpoint: {error}") from error

    def fileno(self) -> int:
        return self._end.fileno()

    def was_hit(self) -> bool:
        """Reads from the stub; returns whether the kernel reached the breakpoint. Other stops do not count.

        Raises ConnectionError when another gdb has taken over the stub.
        """
        self._receive()
        # SIGTRAP (gdb's manual, Stop Reply Packets)
        return b"$T05" in self._received

    def handle_hit(self) -> None:
        """Calls `act` while the guest is stopped there, then lets it run on; deadlines are paused."""
        clock = self._machine.clock
        stood_still = clock.is_paused
        clock.pause()
        try:
            self._act()
        except (KmodHarnessError, OSError) as error:
            self.problem = str(error)
        finally:
            self.remove()
            if not stood_still:
                clock.resume()

    def remove(self) -> None:
        """Removes the breakpoint; a stopped guest runs on. A second call does nothing."""
        if self._end.fileno() < 0:
            return
        with self._end, contextlib.suppress(OSError, QemuDied):
            self.await_set()
            self._received = b""
            self._end.sendall(b"+" + _packet("D"))
            self._await(b"$OK#")

    def close(self) -> None:
        """Closes the connection to a QEMU that ends."""
        self._end.close()

    def _await(self, answer: bytes) -> None:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        while answer not in self._received:
            if not poll.poll(int(_SECONDS * 1000)):
                raise QemuDied(f"QEMU's gdb stub did not answer within {_SECONDS:g} s")
            self._receive()

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = self._end.recv(4096)
            if not data:
                raise ConnectionError("QEMU's gdb stub was closed")
            # only the end is searched
            self._received = (self._received + data)[-4096:]


def _packet(text: str) -> bytes:
    """Returns a packet of gdb's remote protocol (gdb's manual, Remote Protocol, Overview)."""
    return f"${text}#{sum(text.encode()) % 256:02x}".encode()
