"""The guest's serial shell on a terminal, byte for byte; or fed with lines when there is none."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import sys
import termios
import tty
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from kmod_harness.errors import GuestRebooted
from kmod_harness.guest.agent.calls import Pending
from kmod_harness.guest.agent.protocol import Call, InOut
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.guest import Guest
from kmod_harness.machine.deadline import Deadline

#: Ctrl-], as in telnet: pressed twice it ends the guest.
ESCAPE = b"\x1d"
_PIDFD_OPEN = 434  # pidfd_open(2), Linux 5.3
#: Seconds a line that is fed may run: a day.
_LINE_SECONDS = 86400.0
#: The shell's (docs/design.md, decision 1).
_TERMINAL = "/dev/ttyS1"
_LEAVING = ("exit", "logout")


def connect_terminal(guest: Guest, keyboard: int, screen: int) -> None:
    """Joins terminal and shell until the shell ends, the guest powers off, or Ctrl-] comes twice.

    Raises KernelPanic, QemuDied. The terminal is as before afterwards, whatever ends it.
    """
    columns, rows = os.get_terminal_size(screen)
    shell = guest.shell
    pid = int(shell.run("echo $$").output)
    term = os.environ.get("TERM", "linux")
    shell.run(f"stty sane rows {rows} cols {columns}; export TERM={_word(term)}; PS1='# '")
    ended = _when_it_ends(guest, pid)
    with _raw(keyboard), _resized() as resized:
        # a newline: the prompt that came in answer to the set-up was swallowed with it
        guest.machine.shell.sendall(b"\n")
        with contextlib.suppress(GuestRebooted):
            _forward(guest, keyboard, screen, ended, resized)
    print()


def feed_lines(guest: Guest, lines: BinaryIO, output: TextIO) -> int:
    """Runs each line in the guest's shell and prints what it says; returns 1 if the last failed, else 0.

    Ends at the end of the lines, at `exit`, and when the guest powers off.
    """
    status = 0
    shell = guest.shell
    try:
        for raw in lines:
            line = raw.decode(errors="replace").rstrip("\r\n")
            words = line.split()
            if words and words[0] in _LEAVING:
                return int(words[1] != "0") if len(words) > 1 else int(status != 0)
            if not words:
                continue
            result = shell.run(line, timeout=_LINE_SECONDS)
            output.write(result.output)
            output.flush()
            status = result.status
    except GuestRebooted:
        return 0
    return int(status != 0)


def _forward(guest: Guest, keyboard: int, screen: int, ended: Pending, resized: int) -> None:
    machine = guest.machine
    shell, agent = machine.shell.fileno(), machine.agent.fileno()
    forever = Deadline("the session", None, machine.clock)
    last = b""
    while True:
        ready = machine.watch.wait([keyboard, shell, agent, resized], forever)
        if resized in ready:
            os.eventfd_read(resized)
            _pass_size_on(guest, screen)
        if shell in ready:
            _write_all(screen, machine.shell.recv(65536))
        if agent in ready:
            guest._channel.take_in()
            if ended.done():
                return
        if keyboard in ready:
            typed = os.read(keyboard, 4096)
            if not typed or ESCAPE * 2 in last + typed:
                return
            last = typed[-1:] if typed.endswith(ESCAPE) else b""
            machine.shell.sendall(typed)


def _pass_size_on(guest: Guest, screen: int) -> None:
    """Gives the guest's terminal the size of this one; what runs there is told by SIGWINCH."""
    columns, rows = os.get_terminal_size(screen)
    with guest.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK) as terminal:
        terminal.ioctl(termios.TIOCSWINSZ, struct.pack("<4H", rows, columns, 0, 0))


@contextlib.contextmanager
def _resized() -> Iterator[int]:
    """Yields an eventfd that can be read when the terminal's size has changed."""
    changed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    before = signal.signal(signal.SIGWINCH, lambda *_: os.eventfd_write(changed, 1))
    try:
        yield changed
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(changed)


def _when_it_ends(guest: Guest, pid: int) -> Pending:
    """Returns a call under way in the guest that is answered when the process `pid` has ended.

    A process of its own polls a pidfd: init starts the next shell at once, so the port never closes.
    """
    watcher = guest.process()
    (opened,) = watcher.batch([Call(_PIDFD_OPEN, (pid, 0))])
    poll = InOut(struct.pack("<ihh", opened.value, select.POLLIN, 0))
    forever = 0xFFFFFFFF  # poll(2): a timeout of -1, an int
    return watcher.begin([Call(NUMBERS["poll"], (poll, 1, forever))])


@contextlib.contextmanager
def _raw(keyboard: int) -> Iterator[None]:
    """The terminal in raw mode, restored at the end; SIGTSTP cannot come: Ctrl-Z is the guest's."""
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard)
        yield
    finally:
        # a background process that sets its terminal is stopped (SIGTTOU), for ever if nobody is there
        handler = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTTOU, handler)
        sys.stdout.flush()


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _word(text: str) -> str:
    """A TERM that is no plain word is not passed on."""
    return text if text.replace("-", "").replace("+", "").replace(".", "").isalnum() else "vt100"
