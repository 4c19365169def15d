"""The host's end of the agent's port, with a real process as QEMU and a test as the agent."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from kmod_harness.errors import BootFailed, GuestHang, Misuse, ProcessKilled, QemuDied
from kmod_harness.guest.agent import channel
from kmod_harness.guest.agent.protocol import PROTOCOL_VERSION, Call, Frame, Kind, ProtocolError
from kmod_harness.guest.process import Process
from kmod_harness.machine.deadline import Deadline
from unit.guest.channel_host import Host, during

GETPID = [Call(39)]


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def soon() -> Deadline:
    return Deadline("an answer", 0.2)


class TestHello:
    def test_the_agents_pid_comes_with_it(self, host: Host) -> None:
        host.agent.say(Kind.HELLO, payload=struct.pack("<II", PROTOCOL_VERSION, 42))

        assert host.channel.await_hello(soon()) == 42

    def test_silence_is_a_boot_that_failed(self, host: Host) -> None:
        with pytest.raises(BootFailed, match=r"not ready within 0\.2 s") as failed:
            host.channel.await_hello(soon())
        assert failed.value.evidence == "last words"

    def test_a_boot_that_had_more_time_than_others_says_why(self, host: Host) -> None:
        with pytest.raises(BootFailed, match=r"within 0\.2 s \(for KASAN\)"):
            host.channel.await_hello(soon(), "for KASAN")

    def test_another_version_is_a_protocol_error(self, host: Host) -> None:
        host.agent.say(Kind.HELLO, payload=struct.pack("<II", PROTOCOL_VERSION + 1, 42))
        with pytest.raises(ProtocolError, match="speaks version"):
            host.channel.await_hello(soon())


class TestAnswers:
    def test_they_find_their_owner_in_any_order(self, host: Host) -> None:
        one, other = host.process(1, 100), host.process(2, 200)
        first, second = one.begin(GETPID), other.begin(GETPID)
        requests = [host.agent.hear(), host.agent.hear()]
        for request in reversed(requests):
            host.agent.say(Kind.CALLS, request, struct.pack("<q", request.worker))

        assert [first.result(), second.result(), first.result()] == [1, 2, 1]

    def test_one_for_nobody_is_dropped(self, host: Host) -> None:
        process = host.process()
        host.agent.end.sendall(Frame(Kind.CALLS, 999_999, b"?").encode())
        with during(lambda: host.agent.answer(7)):
            assert process.call("getpid").value == 7

    def test_one_from_an_earlier_life_is_dropped(self, host: Host) -> None:
        process = host.process()
        host.channel.epoch = 5
        pending = process.begin(GETPID)
        asked = host.agent.hear()
        host.agent.end.sendall(Frame(Kind.CALLS, asked.tag, struct.pack("<q", 1), 1, epoch=4).encode())
        host.agent.say(Kind.CALLS, asked, struct.pack("<q", 2))

        assert pending.result() == 2

    def test_an_impossible_frame_is_a_protocol_error(self, host: Host) -> None:
        host.agent.end.sendall(b"\xff" * 16)
        with pytest.raises(ProtocolError, match="announced a frame"):
            host.channel.await_hello(soon())

    def test_a_refusal_by_the_agent_is_not_the_kernels_errno(self, host: Host) -> None:
        pending = host.process().begin(GETPID)
        host.agent.say(Kind.ERROR, host.agent.hear(), struct.pack("<i", 22))
        with pytest.raises(ProtocolError, match="the agent refused the calls: Invalid argument"):
            pending.result()


class TestDeaths:
    def test_during_a_call(self, host: Host) -> None:
        process = host.process()
        pending = process.begin(GETPID)
        host.agent.say(Kind.DIED, host.agent.hear(), struct.pack("<i", signal.SIGSEGV))

        with pytest.raises(ProcessKilled, match="SIGSEGV in getpid"):
            pending.result()
        with pytest.raises(ProcessKilled, match="SIGSEGV"):
            process.call("getpid")

    def test_before_its_calls_reached_the_agent(self, host: Host) -> None:
        pending = host.process().begin(GETPID)
        asked = host.agent.hear()
        host.agent.say(Kind.DIED, payload=struct.pack("<i", signal.SIGKILL), worker=1)
        host.agent.say(Kind.ERROR, asked, struct.pack("<i", 3))

        with pytest.raises(ProcessKilled, match="SIGKILL in getpid"):
            pending.result()

    def test_a_dead_process_does_not_come_back_with_its_number(self, host: Host) -> None:
        old = host.process(1, 100)
        host.agent.say(Kind.DIED, payload=struct.pack("<i", 9), worker=1)
        heir = host.process(1, 101)

        assert heir.is_alive
        assert not old.is_alive
        with pytest.raises(ProcessKilled, match="process 100"):
            old.call("getpid")

    def test_one_that_dies_as_soon_as_it_started_is_dead(self, host: Host) -> None:
        def start_and_die() -> None:
            asked = host.agent.hear()
            started = Frame(Kind.START, asked.tag, struct.pack("<II", 1, 100)).encode()
            host.agent.end.sendall(started + Frame(Kind.DIED, 0, struct.pack("<i", 9), 1).encode())

        with during(start_and_die):
            process = Process(host.machine, host.channel)
        host.channel.take_in()
        assert not process.is_alive

    def test_one_of_a_restored_guest_is_known_though_its_tag_is_of_an_earlier_life(self, host: Host) -> None:
        host.channel.epoch = 5
        process = Process(host.machine, host.channel, (1, 100))
        host.agent.end.sendall(Frame(Kind.DIED, 77, struct.pack("<i", 9), 1, epoch=0).encode())
        host.channel.take_in()

        assert not process.is_alive

    def test_a_killed_process_answers_its_pending_call(self, host: Host) -> None:
        process = host.process()
        pending = process.begin(GETPID)
        host.agent.hear()
        with during(lambda: host.agent.say(Kind.DIED, host.agent.hear(), struct.pack("<i", 9))):
            process.kill()

        assert pending.done()
        with pytest.raises(ProcessKilled, match="SIGKILL"):
            pending.result()


class TestBusyProcesses:
    def test_a_second_call_is_refused_here_and_never_sent(self, host: Host) -> None:
        process = host.process()
        pending = process.begin(GETPID)
        asked = host.agent.hear()
        with pytest.raises(Misuse, match="still busy"):
            process.call("getpid")
        with pytest.raises(GuestHang):
            pending.results(timeout=0.05)
        assert process.is_busy

        host.agent.say(Kind.CALLS, asked, struct.pack("<q", 3))
        host.channel.take_in()
        assert not process.is_busy
        assert pending.result() == 3


class TestSending:
    def test_a_frame_cut_off_by_its_deadline_is_finished_before_the_next(self, host: Host) -> None:
        big = os.urandom(1 << 20)
        with pytest.raises(GuestHang):
            host.channel.send(Kind.CALLS, big, deadline=soon())

        heard: list[Frame] = []

        def hear_both() -> None:
            heard.extend([host.agent.hear(), host.agent.hear()])

        with during(hear_both):
            host.channel.send(Kind.HELLO, b"after", deadline=Deadline("x", 10))
        assert [frame.payload for frame in heard] == [big, b"after"]

    def test_an_agent_that_writes_before_it_reads_is_heard_meanwhile(self, host: Host) -> None:
        big = os.urandom(1 << 20)
        process = host.process()

        def write_then_read() -> None:
            for _ in range(8):
                host.agent.end.sendall(Frame(Kind.STDOUT, 999, bytes(1 << 18)).encode())
            assert host.agent.hear().payload == big

        with during(write_then_read):
            host.channel.send(Kind.CALLS, big, deadline=Deadline("x", 10))
        assert process.is_alive

    def test_a_killed_qemu_is_known_at_once(self, host: Host) -> None:
        process = host.process()
        killer = threading.Timer(0.1, host.qemu.kill)
        killer.start()
        started = time.monotonic()
        with pytest.raises(QemuDied):
            process.call("getpid")
        assert time.monotonic() - started < 1

    def test_a_qemu_that_takes_long_to_die_is_not_taken_for_a_living_one(self, host: Host) -> None:
        process = host.process()
        pending = process.begin(GETPID)
        host.agent.hear()
        host.agent.end.close()
        threading.Timer(2, host.qemu.kill).start()
        with pytest.raises(QemuDied):
            pending.result()

    def test_a_closed_port_of_a_living_qemu_is_no_answer(
        self, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(channel, "END_SECONDS", 0.1)
        process = host.process()
        pending = process.begin(GETPID)
        host.agent.hear()
        host.agent.end.close()
        with pytest.raises(ProtocolError, match="closed, though QEMU runs"):
            pending.result()
