"""The breakpoint where an oops is over: set and sprung by QEMU's gdb stub, here a socket's other end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from kmod_harness.errors import MachineFailure, QemuDied
from kmod_harness.machine.deadline import Clock, Deadline
from kmod_harness.machine.gdb.trap import Trap
from kmod_harness.machine.machine import Machine
from kmod_harness.machine.qmp import PendingReply
from kmod_harness.machine.watch import Watch

SET = b"$Z1,ffffffff81043000,1#d4$vCont;c#a8"


class Stub:
    """QEMU as the trap sees it: three commands, and the end of the socket that it is given."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.commands: list[str] = []

    def begin(self, command: str, arguments: dict[str, Any], fd: int | None = None) -> PendingReply:
        self.commands.append(command)
        if fd is not None:
            self.end = socket.socket(fileno=os.dup(fd))
        answer = PendingReply()
        answer.give({"return": {}})
        return answer

    def says(self, packets: bytes) -> None:
        self.end.sendall(packets)

    @contextlib.contextmanager
    def letting_go(self) -> Iterator[None]:
        """A block at whose end the trap has asked to be removed, and was answered."""

        def answer() -> None:
            heard = b""
            while not heard.endswith(b"$D#44"):
                heard += self.end.recv(100)
            self.says(b"+$OK#9a")

        answering = threading.Thread(target=answer)
        answering.start()
        yield
        answering.join(timeout=5)
        assert not answering.is_alive()


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.end.close()


def trap_in(stub: Stub, act: Callable[[], None]) -> Trap:
    return Trap(cast(Machine, stub), 0xFFFFFFFF81043000, act)


def test_it_is_set_without_a_wait_and_springs_at_its_own_stop_alone(stub: Stub) -> None:
    done: list[bool] = []
    trap = trap_in(stub, lambda: done.append(stub.clock.is_paused))
    assert stub.commands == ["getfd", "chardev-add", "human-monitor-command"]
    assert stub.end.recv(100) == SET

    # when: it is set, then somebody stops the machine, then the kernel comes by
    stub.says(b"+$OK#9a+")
    trap.await_set()
    stub.says(b"$T02thread:01;#04")
    assert not trap.was_hit()
    stub.says(b"$T05thread:01;#07")
    assert trap.was_hit()

    # then: what is to be done is done while no deadline passes, and the guest goes on
    with stub.letting_go():
        trap.handle_hit()
    assert done == [True] and not stub.clock.is_paused
    trap.remove()
    assert stub.end.recv(100) == b""


@pytest.mark.parametrize("error", [MachineFailure("the stream broke"), OSError("disk full")])
def test_what_fails_is_kept_and_the_guest_goes_on(stub: Stub, error: Exception) -> None:
    def act() -> None:
        raise error

    trap = trap_in(stub, act)
    stub.says(b"$OK#9a$T05#b9")
    with stub.letting_go():
        trap.handle_hit()
    assert trap.problem == str(error)


def test_a_qemu_that_sets_nothing_is_told(stub: Stub) -> None:
    trap = trap_in(stub, lambda: None)
    stub.end.close()
    with pytest.raises(QemuDied, match="sets no breakpoint"):
        trap.await_set()
    trap.close()


def test_whoever_waits_springs_it_and_waits_on(stub: Stub) -> None:
    # given: a wait for bytes that come when the guest goes on
    readable, writable = os.pipe()
    watch = Watch(os.getpid(), lambda: "", lambda lines: "")
    trap = trap_in(stub, lambda: cast(None, os.write(writable, b"x")))
    stub.says(b"$OK#9a$T05#b9")
    trap.await_set()
    watch.set_trap(trap)
    with stub.letting_go():
        assert watch.wait([readable], Deadline("the guest", 5.0)) == {readable}

    # when: somebody else takes the stub from a second one
    second = trap_in(stub, lambda: None)
    watch.set_trap(second)
    stub.end.close()
    os.read(readable, 1)
    os.write(writable, b"y")
    assert watch.wait([readable], Deadline("the guest", 5.0)) == {readable}
    watch.close()
    os.close(readable)
    os.close(writable)
