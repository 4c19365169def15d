"""SSH to the guest: bulk files, and images that already run sshd."""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from kmod_harness.errors import Misuse, SshFailed
from kmod_harness.guest.jobs import Completed

if TYPE_CHECKING:
    import paramiko

    from kmod_harness.guest.process import Process
    from kmod_harness.machine.machine import Machine
    from kmod_harness.spec.spec import Spec

_ADDRESS = "10.0.2.15"
SSH_SECONDS = 30.0
_MAX_OUTPUT = 64 << 20


class SshOwner(Protocol):
    """The guest that is reached, as far as the connection needs it."""

    machine: Machine

    @property
    def spec(self) -> Spec: ...

    @property
    def syscaller(self) -> Process: ...

    def make_directories(self, path: str) -> None: ...

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None: ...

    def read_text(self, path: str) -> str: ...

    def run(self, argv: Sequence[str]) -> Completed: ...


class Ssh:
    """One SSH connection, as root, by a key made for this run; a context manager that closes it.

    `client` is paramiko's, for what is not here.
    """

    def __init__(self, guest: SshOwner) -> None:
        if not (guest.spec.ssh or guest.spec.network):
            raise Misuse(
                "this machine has no network card, so there is no SSH",
                advice="its Spec has ssh=False: leave that out",
            )
        import paramiko  # lazy

        self._guest = guest
        key = paramiko.ECDSAKey.generate()
        _prepare(guest, f"{key.get_name()} {key.get_base64()} kmod-harness")
        self.client = paramiko.SSHClient()
        # the port is QEMU's own, on loopback: whoever answers there is this guest
        self.client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        try:
            self.client.connect(
                "127.0.0.1",
                guest.machine.ssh_port(),
                username="root",
                pkey=key,
                timeout=SSH_SECONDS,
                banner_timeout=SSH_SECONDS,
                auth_timeout=SSH_SECONDS,
                allow_agent=False,
                look_for_keys=False,
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            guest.machine.watch.raise_if_ended()
            raise SshFailed(
                f"no SSH connection to the guest: {error}",
                evidence=guest.machine.console.tail(10),
                advice="the image needs dropbear or sshd and a network card the kernel knows",
            ) from error

    def __enter__(self) -> Ssh:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        """Runs a program by SSH. Raises GuestHang after `timeout` seconds, QemuDied, KernelPanic."""
        transport = self.client.get_transport()
        if transport is None:
            raise SshFailed("the SSH connection was closed")
        machine = self._guest.machine
        seconds = SSH_SECONDS if timeout is None else timeout
        deadline = machine.deadline(
            f"{shlex.join(argv)} by SSH", seconds, exact=timeout is not None, of_a_call=True
        )
        started = time.monotonic()
        with transport.open_session() as channel:
            channel.exec_command(shlex.join(argv))
            out, err = bytearray(), bytearray()
            while True:
                _take(channel, out, err)
                if channel.exit_status_ready() and not (channel.recv_ready() or channel.recv_stderr_ready()):
                    break
                machine.watch.wait([channel.fileno()], deadline)
            _take(channel, out, err)
            status = channel.recv_exit_status()
        if status < 0:
            machine.watch.wait_for_end(1.0)
        return Completed(tuple(argv), status, bytes(out), bytes(err), time.monotonic() - started)

    def put(self, data: bytes, guest_path: str, mode: int = 0o644) -> None:
        """Writes a file in the guest, through `cat`: dropbear has no SFTP server. Raises SshFailed."""
        path = shlex.quote(guest_path)
        with self._session(f"cat > {path} && chmod {mode:o} {path}") as channel:
            channel.sendall(data)
            channel.shutdown_write()
            self._finish(channel, f"writing {guest_path}")

    def get(self, guest_path: str) -> bytes:
        """Returns a file of the guest, at most 64 MiB. Raises SshFailed."""
        with self._session(f"cat {shlex.quote(guest_path)}") as channel:
            data = io.BytesIO()
            while chunk := channel.recv(1 << 20):
                data.write(chunk)
                if data.tell() > _MAX_OUTPUT:
                    raise SshFailed(f"{guest_path} is larger than 64 MiB")
            self._finish(channel, f"reading {guest_path}")
        return data.getvalue()

    def _session(self, command: str) -> paramiko.Channel:
        transport = self.client.get_transport()
        if transport is None:
            raise SshFailed("the SSH connection was closed")
        channel = transport.open_session()
        channel.settimeout(SSH_SECONDS * self._guest.machine.accelerator.deadline_factor)
        channel.exec_command(command)
        return channel

    def _finish(self, channel: paramiko.Channel, what: str) -> None:
        status = channel.recv_exit_status()
        if status != 0:
            self._guest.machine.watch.raise_if_ended()
            said = channel.recv_stderr(4096).decode(errors="replace")
            raise SshFailed(f"{what} by SSH ended with status {status}", evidence=said)


def _take(channel: paramiko.Channel, out: bytearray, err: bytearray) -> None:
    while channel.recv_ready() and len(out) <= _MAX_OUTPUT:
        out += channel.recv(1 << 18)
    while channel.recv_stderr_ready() and len(err) <= _MAX_OUTPUT:
        err += channel.recv_stderr(1 << 18)


def _prepare(guest: SshOwner, public_key: str) -> None:
    """Puts the key in place, the card up, and a server on port 22 unless one listens already."""
    guest.make_directories("/root/.ssh")
    guest.syscaller.call("chmod", b"/root/.ssh\0", 0o700)
    guest.write_file("/root/.ssh/authorized_keys", f"{public_key}\n".encode(), 0o600)
    if _listens(guest):
        return
    _bring_up(guest)
    try:
        # -R: host keys are made when first needed; it returns once it listens
        guest.run(["dropbear", "-R", "-p", "22"]).check()
    except FileNotFoundError as error:
        raise SshFailed(
            "the image has no dropbear and no SSH server that listens on port 22",
            advice="the embedded image has dropbear; guest.run() and guest.push() need neither",
        ) from error


def _bring_up(guest: SshOwner) -> None:
    names = [name for name in guest.syscaller.list_directory("/sys/class/net") if name != "lo"]
    if not names:
        raise SshFailed("the guest's kernel shows no network card", evidence=guest.machine.console.tail(10))
    with suppress(FileNotFoundError):
        guest.run(["ifconfig", names[0], _ADDRESS, "netmask", "255.255.255.0", "up"]).check()
        return
    guest.run(["ip", "address", "replace", f"{_ADDRESS}/24", "dev", names[0]]).check()
    guest.run(["ip", "link", "set", names[0], "up"]).check()


def _listens(guest: SshOwner) -> bool:
    """True when something listens on TCP port 22 (proc(5): /proc/net/tcp, state 0A)."""
    port = f":{22:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in guest.read_text(table).splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(port) and fields[3] == "0A":
                    return True
    return False
