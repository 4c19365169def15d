"""A breakpoint in the kernel where an oops has told all and has not yet killed its task: its stack is whole.

By QEMU's gdb stub, which the kernel cannot see; guests run as fast as without it.
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

#: Where every oops comes by, and nothing else does: `oops_end` calls it before it ends the task
#: (arch/x86/kernel/dumpstack.c, 6.1). On a page of code that runs seldom, which emulation needs.
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
            # nobody waits: a guest is started in the time that it takes QEMU to answer three times
            self._answers = [
                machine.begin("getfd", {"fdname": "trap"}, theirs.fileno()),
                machine.begin(
                    "chardev-add", {"id": "trap", "backend": {"type": "socket", "data": end_of_stub}}
                ),
                machine.begin("human-monitor-command", {"command-line": "gdbserver chardev:trap"}),
            ]
        # read when the stub opens, which stops the guest; a hardware breakpoint: no byte of it changes
        self._end.sendall(_packet(f"Z1,{address:x},1") + _packet("vCont;c"))

    def await_set(self) -> None:
        """Returns when the guest cannot pass it any more. Raises QemuDied."""
        try:
            for answer in self._answers:
                answer.result(_SECONDS)
            # answered in the moment in which the guest runs on
            self._await(b"$OK#")
        except (OSError, CommandRefused) as error:
            raise QemuDied(f"QEMU sets no breakpoint: {error}") from error

    def fileno(self) -> int:
        return self._end.fileno()

    def was_hit(self) -> bool:
        """Takes in what the stub said; True when the kernel came by. Other stops are told as others.

        Raises ConnectionError when somebody else's gdb has taken the stub.
        """
        self._receive()
        # SIGTRAP (gdb's manual, Stop Reply Packets)
        return b"$T05" in self._received

    def handle_hit(self) -> None:
        """Does what is to be done of a guest that came by, then lets it run on; deadlines wait."""
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
        """Takes the breakpoint out; a guest that stands still runs on. A second call does nothing."""
        if self._end.fileno() < 0:
            return
        with self._end, contextlib.suppress(OSError, QemuDied):
            self.await_set()
            self._received = b""
            self._end.sendall(b"+" + _packet("D"))
            self._await(b"$OK#")

    def close(self) -> None:
        """Lets go of a QEMU that ends."""
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
            # only the last words count
            self._received = (self._received + data)[-4096:]


def _packet(text: str) -> bytes:
    """Returns a packet of gdb's remote protocol (gdb's manual, Remote Protocol, Overview)."""
    return f"${text}#{sum(text.encode()) % 256:02x}".encode()
