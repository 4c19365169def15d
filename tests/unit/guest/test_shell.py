"""Shell framing against real shells: on a pty, a byte at a time, all at once, with noise between."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmod_harness.errors import BootFailed, GuestHang
from kmod_harness.guest.shell import Shell
from kmod_harness.machine.deadline import Deadline

#: What happens to the shell's bytes on their way to the harness.
Delivery = Callable[[bytes], Iterator[bytes]]


def as_it_comes(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def wait(fd: int, deadline: Deadline) -> None:
    if not select.select([fd], [], [], deadline.remaining)[0]:
        raise GuestHang(f"{deadline.what} took longer than {deadline.seconds:g} s")


def deadline(what: str, seconds: float | None) -> Deadline:
    return Deadline(what, 20.0 if seconds is None else seconds)


class Bridge:
    """Carries bytes between a pty's master and a socket, in a thread, as the serial port does."""

    def __init__(self, master: int, delivery: Delivery, hold: threading.Event | None) -> None:
        self.harness, self._socket = socket.socketpair()
        self._master = master
        self._delivery = delivery
        self._hold = hold
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        while True:
            ready, _, _ = select.select([self._master, self._socket, self._stop], [], [])
            if self._stop in ready:
                return
            if self._socket in ready:
                data = self._socket.recv(4096)
                while data:
                    data = data[os.write(self._master, data) :]
            if self._master in ready:
                try:
                    said = os.read(self._master, 65536)
                except OSError:
                    # nobody holds the terminal any more: told at once, as QEMU's end is
                    self._socket.shutdown(socket.SHUT_WR)
                    return
                if self._hold is not None:
                    self._hold.wait(10)
                for piece in self._delivery(said):
                    self._socket.sendall(piece)

    def close(self) -> None:
        os.write(self._stopped, b"x")
        self._thread.join()
        for end in (self.harness, self._socket):
            end.close()
        for fd in (self._stop, self._stopped):
            os.close(fd)


@contextmanager
def shell_on_a_pty(
    argv: list[str],
    *,
    delivery: Delivery = as_it_comes,
    environment: dict[str, str] | None = None,
    hold: threading.Event | None = None,
    synchronised: bool = True,
) -> Iterator[Shell]:
    master, slave = pty.openpty()
    with ExitStack() as owned:
        owned.callback(os.close, master)
        process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "# ", **(environment or {})},
            start_new_session=True,
            # the terminal is its own, as that of a login shell on a serial port
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        )
        os.close(slave)

        def end() -> None:
            process.send_signal(signal.SIGKILL)
            process.wait()

        owned.callback(end)
        bridge = Bridge(master, delivery, hold)
        owned.callback(bridge.close)
        shell = Shell(bridge.harness, wait, deadline)
        if synchronised:
            shell.synchronise()
        yield shell


NEEDS_BASH = pytest.mark.needs("bash")
SHELLS = (
    pytest.param(["/bin/sh"], id="sh"),
    pytest.param(["bash", "--norc", "--noprofile", "--noediting", "-i"], id="bash", marks=NEEDS_BASH),
    pytest.param(["bash", "--norc", "--noprofile", "-i"], id="bash with line editing", marks=NEEDS_BASH),
    pytest.param(["busybox", "sh"], id="busybox", marks=pytest.mark.needs("busybox")),
)


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    with shell_on_a_pty(request.param) as shell:
        yield shell


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("echo hello", "hello\n"),
        ("printf abc", "abc"),
        ("true", ""),
        ('echo \'it\'"\'"\'s\' "a \\"b\\" $((1+1))" `echo x`', 'it\'s a "b" 2 x\n'),
        ("for i in 1 2 3\ndo\n  echo $i\ndone", "1\n2\n3\n"),
        ("cat <<END\na 'quoted' \"line\"\nEND\n", "a 'quoted' \"line\"\n"),
        ("printf '%s' 'h\N{LATIN SMALL LETTER E WITH ACUTE}llo \N{SNOWMAN}'", "h\u00e9llo \u2603"),
        ("printf 'a\\tb\\r\\n'", "a\tb\r\n"),
        ("echo out; echo err >&2", "out\nerr\n"),
        ("echo kmod; echo kmod0123456789abcdef; echo kmod0123456789abcdef:0:", None),
        ("echo \"kmod''0123456789abcdef\"", "kmod''0123456789abcdef\n"),
        ("echo '$?' ':0:' ':'", "$? :0: :\n"),
        ("# only a comment", ""),
        ("", ""),
    ],
)
def test_a_commands_output_is_exactly_its_output(shell: Shell, command: str, output: str | None) -> None:
    result = shell.run(command)

    assert result.status == 0
    if output is None:
        output = "kmod\nkmod0123456789abcdef\nkmod0123456789abcdef:0:\n"
    assert result.output == output


@pytest.mark.parametrize("status", [0, 1, 2, 126, 127, 128, 130, 255])
def test_the_exit_status_is_the_commands(shell: Shell, status: int) -> None:
    assert shell.run(f"(exit {status})").status == status


def test_all_exit_statuses_one_after_the_other(shell: Shell) -> None:
    assert [shell.run(f"sh -c 'exit {status}'").status for status in range(0, 256, 5)] == [*range(0, 256, 5)]


def test_a_syntax_error_is_a_status_and_the_next_command_works(shell: Shell) -> None:
    for broken in ("if", "echo )", "'", "case x in"):
        result = shell.run(broken, timeout=10)
        assert result.status != 0, broken
        assert result.output, broken
    assert shell.run("echo fine").output == "fine\n"


def test_the_directory_and_variables_stay(shell: Shell) -> None:
    shell.run("cd /usr; kmod_harness_x='a b'")

    assert shell.run('pwd; echo "$kmod_harness_x"').output == "/usr\na b\n"


def test_lines_as_long_as_a_terminal_takes_arrive_whole(shell: Shell) -> None:
    text = "x" * 3960
    assert shell.run(f"echo {text}").output == f"{text}\n"
    middle = "y" * 3990
    assert shell.run(f"echo 1\necho {middle}\necho 2").output == f"1\n{middle}\n2\n"


def test_a_longer_line_is_refused_and_not_cut(shell: Shell) -> None:
    with pytest.raises(ValueError, match="does not fit a terminal"):
        shell.run("echo " + "x" * 4100)
    assert shell.run("echo fine").output == "fine\n"


def test_large_output_arrives_whole(shell: Shell) -> None:
    expected = "".join(f"{number}\n" for number in range(1, 100_001))

    assert shell.run("seq 1 100000").output == expected


def test_a_background_job_disturbs_no_later_command(shell: Shell, tmp_path: Path) -> None:
    # the job ends while a command runs: BusyBox 1.35 takes a SIGCHLD that comes while it reads a line for the
    # end of its input, and exits
    stop = tmp_path / "stop"
    shell.run(f"(while [ ! -e {stop} ] && echo noise && sleep 0.02; do :; done) &")
    for number in range(40):
        result = shell.run(f"(exit {number})")
        assert result.status == number
    assert shell.run(f": >{stop}; wait; (exit 7)").status == 7


def test_a_command_that_never_ends_is_a_hang_and_leaves_a_shell_that_listens(shell: Shell) -> None:
    for number in range(5):
        with pytest.raises(GuestHang, match=r"took longer than 0\.1 s"):
            shell.run("sleep 1000", timeout=0.1)
        assert shell.run(f"echo fine {number}", timeout=10).output == f"fine {number}\n"


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words, st.integers(0, 255))
def test_any_text_comes_back_as_it_was_given(shell: Shell, text: str, status: int) -> None:
    quoted = "'" + text.replace("'", "'\"'\"'") + "'"
    result = shell.run(f"printf '%s' {quoted}; (exit {status})")

    assert (result.output, result.status) == (text, status)


# --- how the bytes come


def exercise(shell: Shell) -> None:
    assert shell.run("echo hello; (exit 3)") == shell.run("echo hello; (exit 3)")
    assert shell.run("seq 1 300").output == "".join(f"{number}\n" for number in range(1, 301))
    assert shell.run("printf x; (exit 9)").status == 9


def test_one_byte_at_a_time() -> None:
    with shell_on_a_pty(["/bin/sh"], delivery=byte_by_byte) as shell:
        exercise(shell)


def test_all_at_once_so_that_a_marker_has_much_behind_it() -> None:
    hold = threading.Event()
    hold.set()
    with shell_on_a_pty(["/bin/sh"], hold=hold) as shell:
        hold.clear()
        release = threading.Timer(0.5, hold.set)
        release.start()
        # one read of the harness holds the first marker and 60,000 bytes behind it
        assert len(shell.run("head -c 60000 /dev/zero | tr '\\0' x").output) == 60000
        exercise(shell)


def test_noise_before_the_prompt_and_between_commands() -> None:
    before = b"\n"

    def noisy(data: bytes) -> Iterator[bytes]:
        # a console that others write to as well, between lines: a busy pty gives a line in pieces
        nonlocal before
        noise = b"\x1b]0;title\x07[  1.0] noise kmod: echo kmod''12:0:\r\n"
        yield noise + data if before.endswith(b"\n") else data
        before = data

    with shell_on_a_pty(["/bin/sh"], delivery=noisy) as shell:
        for number in range(20):
            result = shell.run(f"echo hello; (exit {number})")
            assert result.status == number
            assert "hello\n" in result.output


@pytest.mark.parametrize(
    "prompt", ["", "$ ", "\\u@\\h:\\w# ", "kmod0123456789abcdef:0:", "multi\nline> ", "%?'\""]
)
def test_any_prompt_will_do(prompt: str) -> None:
    # a prompt of nothing is met by whoever knows that the shell is there
    with shell_on_a_pty(["/bin/sh"], environment={"PS1": prompt}, synchronised=False) as shell:
        shell.synchronise(prompt_seen=not prompt)
        exercise(shell)


@NEEDS_BASH
def test_a_terminal_that_echoes_whatever_it_is_told() -> None:
    def echoing(data: bytes) -> Iterator[bytes]:
        yield data

    code = "stty() { :; }; export -f stty 2>/dev/null; exec bash --norc --noprofile --noediting -i"
    with shell_on_a_pty(["bash", "-c", code], delivery=echoing) as shell:
        exercise(shell)


def test_no_shell_at_all_is_a_boot_that_failed() -> None:
    with shell_on_a_pty(["sleep", "1000"], synchronised=False) as shell:
        shell._deadline = lambda what, seconds: Deadline(what, 0.3)
        with pytest.raises(BootFailed, match="never gave a shell prompt"):
            shell.synchronise()


def test_the_transcript_keeps_what_was_read() -> None:
    with shell_on_a_pty(["/bin/sh"]) as shell:
        shell.run("echo something")
        assert b"something" in shell.transcript
