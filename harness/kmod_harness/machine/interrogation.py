"""Asking a guest that hangs what it is doing: the kernel by sysrq, the CPUs from outside."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmod_harness.errors import GuestHang, MachineFailure
from kmod_harness.klog.reading import for_reading
from kmod_harness.machine.console import ConsoleLog
from kmod_harness.machine.memory.cpu_registers import Registers
from kmod_harness.machine.memory.guest_memory import GuestMemory

if TYPE_CHECKING:
    from kmod_harness.machine.machine import Machine

#: Seconds the kernel may take for each thing it is asked (times 4 under emulation); it takes 0.1 for all.
_ANSWER_SECONDS = 0.6
#: The same where every CPU was seen with interrupts off: it is likely to stay so.
_UNLIKELY_ANSWER_SECONDS = 0.15
_INTERRUPTS = 1 << 9  # RFLAGS.IF
#: Key and how its answer begins (drivers/tty/sysrq.c, 6.1): tasks in D state, none or the ones that hang;
#: backtraces of all CPUs, which are long; and the help line, which comes behind all that the others said.
_KEYS = ((b"w", b"sysrq: Show Blocked"), (b"l", b"sysrq: Show backtrace"), (b"h", b"sysrq: HELP"))
#: Seconds until an answer begins (times 4 under emulation), else the break was lost.
_FIRST_BYTE_SECONDS = 0.2
#: Seconds without a byte that end an answer; a line takes a millisecond.
_QUIET_SECONDS = 0.15
#: Bytes kept of the answer: a stack of each blocked task.
_MOST_BYTES = 1 << 18
#: Bytes of each CPU's stack that are looked through for return addresses: a kernel stack is 16 KiB.
_STACK_BYTES = 4096
_KERNEL_TEXT = (0xFFFFFFFF80000000, 0xFFFFFFFFFF000000)


@dataclass(frozen=True)
class CpuState:
    """One CPU seen from outside; `stack`: the words above its stack pointer that may be return addresses."""

    registers: Registers
    stack: tuple[int, ...]


@dataclass(frozen=True)
class Interrogation:
    """The answers of a hanging guest. answer: the kernel's own lines, "" where it takes no interrupts."""

    answer: str
    cpus: tuple[CpuState, ...]

    def __str__(self) -> str:
        told = (
            [self.answer.rstrip()]
            if self.answer
            else ["the kernel does not answer sysrq: interrupts are off"]
        )
        for cpu in self.cpus:
            state = cpu.registers
            where = "halted" if state.halted else "in user mode" if state.cpl else "in the kernel"
            told.append(f"CPU {state.cpu} from outside: {where}, RSP {state.rsp:#x}")
            told.append(f"  RIP {state.rip:#x}")
            told += [f"  {address:#x}" for address in cpu.stack[:16]]
        return "\n".join(told)


def interrogate(machine: Machine) -> Interrogation:
    """Reads registers and stacks from outside, and asks by break and sysrq on ttyS0; bounded in time.

    What the kernel writes is in its log too, under the heads `sysrq:` and `NMI backtrace`, which are
    no splats. Raises what ends the machine: QemuDied, KernelPanic.
    """
    try:
        cpus = _look(machine)
    except MachineFailure:
        machine.watch.raise_if_ended()
        cpus = ()
    is_deaf = bool(cpus) and not any(cpu.registers.rflags & _INTERRUPTS for cpu in cpus)
    answer = _ask_kernel(machine, _UNLIKELY_ANSWER_SECONDS if is_deaf else _ANSWER_SECONDS)
    return Interrogation(answer, cpus)


def _ask_kernel(machine: Machine, seconds: float) -> str:
    """Returns the kernel's lines on ttyS0 for the keys, "" when it writes none."""
    said = bytearray()
    with sending_only(machine) as port, closing(ConsoleLog(machine.ends.console_log, from_end=True)) as log:
        for key, heading in _KEYS:
            deadline = machine.deadline("the answer to sysrq", seconds)
            while heading not in said:
                # one at a time: QEMU's 16550A has one break for its whole FIFO, not one a character
                machine.qmp("chardev-send-break", {"id": "console"})
                port.send(key)
                # a break that comes while the kernel prints is lost: then it is asked again
                said += _until_quiet(machine, log)
                if heading not in said and deadline.passed:
                    return _as_text(bytes(said))
    return _as_text(bytes(said))


@contextlib.contextmanager
def sending_only(machine: Machine) -> Iterator[socket.socket]:
    """A connection to ttyS0 that only sends: the answer is read from the log file.

    A client that reads must be faster than the guest: of a byte that its full socket refuses, QEMU writes a
    copy into the `logfile` at each try (qemu_chr_write_buffer(), chardev/char.c, 7.2), and the log has
    characters twice. To a client that has shut down its reading side nothing is tried again.
    """
    with socket.socket(socket.AF_UNIX) as port:
        port.connect(str(machine.ends.console_socket))
        port.shutdown(socket.SHUT_RD)
        yield port


def _as_text(said: bytes) -> str:
    text = said.decode(errors="replace").replace("\r\n", "\n")
    return "\n".join(for_reading(line for line in text.splitlines() if "sysrq: HELP" not in line))


def _until_quiet(machine: Machine, log: ConsoleLog) -> bytes:
    """Returns what the kernel writes until it is silent, since an answer has no end of its own."""
    said = bytearray()
    pause = machine.deadline("the first byte", _FIRST_BYTE_SECONDS)
    with contextlib.suppress(GuestHang):
        while len(said) < _MOST_BYTES:
            machine.watch.wait([log.fileno()], pause)
            said += log.read_new()
            pause = machine.deadline("a pause", _QUIET_SECONDS, exact=True)
    return bytes(said)


def _look(machine: Machine) -> tuple[CpuState, ...]:
    with GuestMemory(machine) as memory:
        return tuple(CpuState(cpu, _return_addresses(memory, cpu)) for cpu in memory.registers)


def _return_addresses(memory: GuestMemory, cpu: Registers) -> tuple[int, ...]:
    """Returns the words of the kernel stack that lie in kernel or module text; leftovers are among them."""
    if cpu.cpl:
        return ()
    # a stack of the kernel is 16 KiB, aligned: beyond its end lies another's, or nothing
    size = min(_STACK_BYTES, 0x4000 - cpu.rsp % 0x4000)
    try:
        data = memory.read_virtual(cpu.rsp, size - size % 8)
    except MachineFailure:
        return ()
    words = (int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8))
    return tuple(word for word in words if _KERNEL_TEXT[0] <= word < _KERNEL_TEXT[1])
