"""The ways to a machine: its private directory, the sockets of its channels, its saved device state.

Imports little: a guest restored ahead is forked before anything else is looked at.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from kmod_harness.machine.rundir import run_directory


class Channels:
    """Our ends (`qmp`, `agent`, `shell`) and QEMU's; `state_fd` is a file's, -1 without one."""

    def __init__(self, state: Path | None = None) -> None:
        self._owned = own = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self.directory = own.enter_context(run_directory())
            self.qmp, self.qmp_theirs = self._pair()
            self.agent, self.agent_theirs = self._pair()
            self.shell, self.shell_theirs = self._pair()
            self.state_fd = -1
            if state is not None:
                self.state_fd = os.open(state, os.O_RDONLY | os.O_CLOEXEC)
                own.callback(os.close, self.state_fd)
            undo.pop_all()

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        self._owned.callback(ours.close)
        self._owned.callback(theirs.close)
        return ours, theirs

    @property
    def fds(self) -> tuple[int, int, int]:
        """QEMU's ends of its monitor, the agent's port and ttyS1."""
        return self.qmp_theirs.fileno(), self.agent_theirs.fileno(), self.shell_theirs.fileno()

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors that QEMU is to have under the same numbers."""
        return self.fds if self.state_fd < 0 else (*self.fds, self.state_fd)

    def close_theirs(self) -> None:
        """Closes QEMU's ends here, once it has them: its death is known by them."""
        for end in (self.qmp_theirs, self.agent_theirs, self.shell_theirs):
            end.close()

    def close(self) -> None:
        self._owned.close()
