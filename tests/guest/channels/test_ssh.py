"""SSH to the guest: a key of the run, a loopback port that the system chose."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kmod_harness import Spec
from kmod_harness.errors import GuestHang, KernelPanic, Misuse
from kmod_harness.guest.guest import Guest
from kmod_harness.lifecycle.boot import boot
from kmod_harness.lifecycle.prepare import prepare
from kmod_harness.pytest_plugin.testbed import Testbed


@pytest.fixture(scope="module")
def connected(machine_spec: Spec) -> Iterator[Guest]:
    import dataclasses

    with boot(prepare(dataclasses.replace(machine_spec, ssh=True))) as guest:
        yield guest


def test_a_program_runs_with_its_streams_and_status(connected: Guest) -> None:
    done = connected.ssh.run(["sh", "-c", "echo out; echo err >&2; exit 3"])

    assert (done.stdout, done.stderr, done.status) == (b"out\n", b"err\n", 3)


def test_arguments_are_quoted_for_the_other_shell(connected: Guest) -> None:
    assert connected.ssh.run(["printf", "%s|", "a b", "'q\"", "$HOME"]).stdout == b"a b|'q\"|$HOME|"


def test_files_go_there_and_back_as_they_are(connected: Guest) -> None:
    data = os.urandom(3 << 20)

    connected.ssh.put(data, "/tmp/a file", mode=0o750)

    assert connected.ssh.get("/tmp/a file") == data
    assert connected.syscaller.stat("/tmp/a file").st_mode & 0o777 == 0o750


def test_an_overdue_program_is_a_hang(connected: Guest) -> None:
    with pytest.raises(GuestHang, match="by SSH took longer"):
        connected.ssh.run(["sleep", "1000"], timeout=0.5)
    assert connected.ssh.run(["true"]).status == 0


def test_the_port_is_on_loopback_alone(connected: Guest) -> None:
    port = f":{connected.machine.ssh_port():04X}"
    with open("/proc/net/tcp") as table:
        listening = [line.split()[1] for line in table if line.split()[3] == "0A"]

    assert [address for address in listening if address.endswith(port)] == [f"0100007F{port}"]


def test_a_machine_without_a_card_says_how_to_get_one(machine: Testbed, machine_spec: Spec) -> None:
    import dataclasses

    bare = dataclasses.replace(machine_spec, ssh=False, network=False)
    with boot(prepare(bare)) as guest, pytest.raises(Misuse, match="no network card"):
        _ = guest.ssh


def test_a_panic_during_a_program_is_known_at_once(connected: Guest) -> None:
    connected.ssh.run(["true"])
    with pytest.raises(KernelPanic):
        connected.ssh.run(["sh", "-c", "echo c > /proc/sysrq-trigger"], timeout=30)
