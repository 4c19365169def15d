"""Several threads at one agent's port: each gets its own answer, in its own time."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator

import pytest

from kmod_harness.errors import GuestHang
from kmod_harness.guest.agent.protocol import Frame, Kind
from unit.guest.channel_host import Host, during


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def test_threads_that_wait_at_once_each_get_their_own_answer(host: Host) -> None:
    channel, count = host.channel, 8
    got: dict[int, int] = {}

    def ask(number: int) -> None:
        deadline = host.deadline("an answer", 10)
        frame = channel.ask(Kind.CALLS, struct.pack("<q", number), worker=1, deadline=deadline)
        got[number] = struct.unpack("<q", frame.payload)[0]

    def answer_in_reverse() -> None:
        asked = [host.agent.hear() for _ in range(count)]
        for frame in reversed(asked):
            (number,) = struct.unpack("<q", frame.payload)
            host.agent.say(Kind.CALLS, frame, struct.pack("<q", number * 10))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    with during(answer_in_reverse):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert got == {number: number * 10 for number in range(count)}


def test_a_thread_that_waits_longer_keeps_no_other_from_asking(host: Host) -> None:
    blocked: list[Frame] = []
    waits = threading.Thread(
        target=lambda: blocked.append(
            host.channel.ask(Kind.CALLS, b"first", worker=1, deadline=host.deadline("a read", 10))
        )
    )
    waits.start()
    first = host.agent.hear()
    with during(lambda: host.agent.say(Kind.CALLS, host.agent.hear(), b"second")):
        deadline = host.deadline("a write", 10)
        second = host.channel.ask(Kind.CALLS, b"x", worker=2, deadline=deadline)
    assert second.payload == b"second" and not blocked
    host.agent.say(Kind.CALLS, first, b"done")
    waits.join(10)
    assert [frame.payload for frame in blocked] == [b"done"]


def test_the_deadline_of_a_thread_that_does_not_look_at_the_port_is_kept(host: Host) -> None:
    def hang() -> None:
        with pytest.raises(GuestHang):
            host.channel.ask(Kind.CALLS, b"", worker=1, deadline=host.deadline("a read", 3))

    forever = threading.Thread(target=hang)
    forever.start()
    host.agent.hear()
    started = time.monotonic()
    with pytest.raises(GuestHang, match="a write took longer"):
        host.channel.ask(Kind.CALLS, b"", worker=2, deadline=host.deadline("a write", 0.2))
    assert time.monotonic() - started < 2
    forever.join(10)
