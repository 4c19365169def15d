"""One machine seen from outside: QEMU's process, its channels' ends, its QMP, its end."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from kmod_harness.errors import GuestHang, MissingTool
from kmod_harness.machine.accelerator import Accelerator
from kmod_harness.machine.argv import Endpoints, RamFile, qemu_argv
from kmod_harness.machine.channels import Channels
from kmod_harness.machine.console import ConsoleLog
from kmod_harness.machine.deadline import BootLimit, Clock, Deadline
from kmod_harness.machine.disks import DiskFile, make_overlays
from kmod_harness.machine.fork import ForkedQemu
from kmod_harness.machine.migration import Migration, commands_that_load
from kmod_harness.machine.qemu_process import QemuProcess, Version
from kmod_harness.machine.watch import Watch
from kmod_harness.spec.spec import Spec

if TYPE_CHECKING:
    from kmod_harness.machine.qmp import PendingReply


class Owned(Protocol):
    """An object that a machine keeps for its whole life; made of the machine, closed before its QEMU ends."""

    def __init__(self, machine: Machine) -> None: ...

    def close(self) -> None: ...


OwnedKind = TypeVar("OwnedKind", bound=Owned)
#: What SHUTDOWN's `reason` means for the guest (QEMU qapi/run-state.json: ShutdownCause).
_ENDS = {"guest-panic": "panic", "guest-reset": "reset", "guest-shutdown": "poweroff"}
#: Seconds (times 4 under emulation) that a panicking kernel has to write out its log and to reset; it takes
#: milliseconds unless its command line says otherwise.
PANIC_SECONDS = 2.0
#: Seconds (times 4 under emulation) that a guest whose agent has ended has to end itself: BusyBox' init kills
#: all others two seconds before (init/init.c, 1.35, run_shutdown_and_kill_processes).
AGENT_SECONDS = 1.0


def find_qemu(name: str = "qemu-system-x86_64") -> str:
    """Returns QEMU's absolute path. Raises MissingTool."""
    path = shutil.which(name)
    if path is None:
        raise MissingTool(
            f"{name} is not installed",
            advice="as root: apt-get install --no-install-recommends qemu-system-x86",
        )
    return path


class Machine:
    """A started QEMU; a context manager that leaves no process, socket or directory behind.

    `agent` and `shell` are the host's ends of the agent's port and of ttyS1. `started` is the monotonic
    second at which QEMU was forked. With `state`, a saved device state that it runs on from, the
    constructor does not wait: a state that does not fit ends QEMU, which the next wait reports.
    `forked` is a QEMU that was forked already, which is this machine's from here on.
    """

    def __init__(
        self,
        spec: Spec,
        kernel: Path,
        initrd: Path,
        accelerator: Accelerator,
        *,
        qemu: str = "",
        disks: Sequence[DiskFile] = (),
        stopped: bool = False,
        ram: RamFile | None = None,
        incoming: bool = False,
        state: Path | None = None,
        forked: ForkedQemu | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.spec = spec
        self.accelerator = accelerator
        self.disks = tuple(disks)
        self.clock = clock or Clock()
        #: exact seconds in place of the harness's own limits, None for those
        self.call_limit: float | None = None
        #: how a user gives a call more time
        self.calls_prolonged_by = "timeout= of the call"
        #: for its boot; who knows the kernel's configuration sets another
        self.boot_limit = BootLimit()
        #: called whenever something is about to be asked of the guest
        self.before_request: Callable[[], object] = lambda: None
        #: called when a program took too long, before it is killed; whether it notes what the programs do
        self.before_kill: Callable[[], bool] = lambda: False
        self._closed = False
        self._panic: threading.Timer | None = None
        self._timers: list[threading.Timer] = []
        self._kept: dict[type[Owned], Owned] = {}
        self._owned = contextlib.ExitStack()
        self.migration = Migration(self)
        self._owned.callback(self.migration.close)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._launch(qemu or find_qemu(), kernel, initrd, stopped, ram, incoming, state, forked)
            undo.pop_all()

    def _launch(
        self,
        qemu: str,
        kernel: Path,
        initrd: Path,
        stopped: bool,
        ram: RamFile | None,
        incoming: bool,
        state: Path | None,
        forked: ForkedQemu | None,
    ) -> None:
        own = self._owned
        channels = forked.channels if forked else Channels(state)
        own.callback(channels.close)
        self.directory, self.agent, self.shell = channels.directory, channels.agent, channels.shell
        make_overlays(self.disks, self.directory)
        qmp_fd, agent_fd, shell_fd = channels.fds
        self.ends = Endpoints(qmp_fd, agent_fd, shell_fd, self.directory)
        self.argv = (forked and forked.argv) or qemu_argv(
            qemu,
            self.spec,
            self.accelerator,
            kernel,
            initrd,
            self.ends,
            disks=self.disks,
            stopped=stopped,
            ram=ram,
            incoming=incoming or state is not None,
        )
        self.console = ConsoleLog(self.ends.console_log)
        own.callback(self.console.close)
        self._qemu = QemuProcess(
            self.argv,
            qmp_sockets=(channels.qmp, channels.qmp_theirs),
            pass_fds=channels.inherited,
            output=self.directory / "qemu.log",
            on_event=self._note_event,
            process=forked.process if forked else None,
        )
        own.callback(self._qemu.close)
        # under way before QEMU is: nobody has to be awake for a guest to be restored
        if state is not None:
            self._qemu.begin_at_greeting(partial(commands_that_load, channels.state_fd))
        self.started = forked.started if forked else time.monotonic()
        self._qemu.start()
        channels.close_theirs()
        self.watch = Watch(self._qemu.pid, self._qemu.describe_death, self.console.tail)
        own.callback(self.watch.close)
        # first of all that is done in the end: QEMU's death is waited for after it
        own.callback(self.console.unwatch)
        if state is None:
            self.connect()

    def connect(self) -> None:
        """Returns when QEMU has set itself up; the constructor awaits it unless it was given a state.

        Raises Misuse when QEMU refuses its arguments, QemuDied.
        """
        self._qemu.connect()

    def __repr__(self) -> str:
        spec = self.spec
        what = f"{spec.kernel or 'a kernel'}, {spec.cpus} CPU, {spec.memory_mib} MiB, {self.accelerator.name}"
        if self._closed or not hasattr(self, "watch"):
            return f"<Machine: {what}; no QEMU>"
        return f"<Machine: {what}; QEMU {self.pid} {'has ended' if self.watch.has_ended else 'runs'}>"

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills QEMU and removes what the machine owned; a second call does nothing."""
        if not self._closed:
            self._closed = True
            for timer in self._timers:
                timer.cancel()
            self._owned.close()

    @property
    def pid(self) -> int:
        return self._qemu.pid

    def deadline(
        self, what: str, seconds: float, *, exact: bool = False, of_a_call: bool = False
    ) -> Deadline:
        """Returns a deadline on this machine's clock.

        The harness's own limits are longer under software emulation; `exact` is
        for those a user gave. `call_limit`, where set, stands for all of the former.
        of_a_call: a user made the call, and may give it more time.
        """
        self.before_request()
        if not exact:
            own = seconds * self.accelerator.deadline_factor
            seconds = own if self.call_limit is None else self.call_limit
        return Deadline(what, seconds, self.clock, prolonged_by=self.calls_prolonged_by if of_a_call else "")

    def settle(self, seconds: float) -> None:
        """Lets the guest run on for so long. Raises what ends the machine meanwhile."""
        with contextlib.suppress(GuestHang):
            self.watch.wait([], self.deadline("settling", seconds, exact=True))

    @property
    def qemu_version(self) -> Version:
        return self._qemu.version

    def qmp(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Returns the result of a QMP command. Raises QemuDied, or CommandRefused (machine/qmp.py)."""
        return self._qemu.execute(command, arguments)

    def begin(
        self, command: str, arguments: dict[str, Any] | None = None, fd: int | None = None
    ) -> PendingReply:
        """Sends a QMP command, with a descriptor for `getfd`, and returns at once."""
        return self._qemu.send(command, arguments, fd)

    def pass_fd(self, name: str, fd: int) -> None:
        """Gives QEMU a descriptor under a name, for a command that takes `fd:NAME`."""
        self._qemu.pass_fd(name, fd)

    def monitor(self, command: str) -> str:
        """Returns the output of a command of QEMU's human monitor."""
        return str(self.qmp("human-monitor-command", {"command-line": command}))

    def owned(self, kind: type[OwnedKind]) -> OwnedKind:
        """Returns the machine's one object of a class; made when first asked for, and raises as that does."""
        found = self._kept.get(kind)
        if found is None:
            found = self._kept[kind] = kind(self)
            self._owned.callback(found.close)
        return cast(OwnedKind, found)

    def ssh_port(self) -> int:
        """Returns the loopback port that reaches the guest's port 22."""
        return parse_forwarded_port(self.monitor("info usernet"))

    def _note_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "GUEST_PANICKED" and self._panic is None:
            self._panic = self._after(PANIC_SECONDS, self._end_panicked)
        elif name == "SHUTDOWN":
            end = _ENDS.get(data.get("reason", ""))
            if end is not None:
                self.watch.set_end("panic" if self._panic else end)
        elif name == "VSERPORT_CHANGE" and not data["open"]:
            # init kills everything on the way to a reboot: the guest's own end, if it comes, is the reason
            self._after(AGENT_SECONDS, lambda: self.watch.set_end("agent"))
        elif name == "MIGRATION":
            self.migration.note(str(data.get("status", "")))

    def _after(self, seconds: float, act: Callable[[], None]) -> threading.Timer:
        """Has a timer do it: events come in QEMU's thread, which nothing must hold up."""
        timer = threading.Timer(seconds * self.accelerator.deadline_factor, act)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)
        return timer

    def _end_panicked(self) -> None:
        """Stops a guest that panicked and has not reset."""
        if not self._closed and not self.watch.has_ended:
            with contextlib.suppress(OSError):
                self._qemu.send("stop")
            self.watch.set_end("panic")


def parse_forwarded_port(usernet: str) -> int:
    """Returns the host port of the first forward in `info usernet` (QEMU net/slirp.c, slirp's own table).

    >>> parse_forwarded_port("  TCP[HOST_FORWARD]  14  127.0.0.1 40123  10.0.2.15  22  0  0\\n")
    40123
    """
    for line in usernet.splitlines():
        words = line.split()
        if words and words[0] == "TCP[HOST_FORWARD]":
            return int(words[3])
    raise ValueError(f"no forwarded port in {usernet!r}")
