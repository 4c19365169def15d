"""The agent's transcript: what a person reads of the frames that crossed the port, and how much is kept."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.guest.agent.protocol import (
    Call,
    Frame,
    Kind,
    Out,
    OutUpToResult,
    ResultOf,
    encode_calls,
    encode_run,
)
from kmod_harness.guest.agent.transcript import Transcript


def said(transcript: Transcript) -> list[str]:
    """The lines without their times."""
    return [line.partition(" ")[2] for line in map(str.lstrip, transcript.text().splitlines())]


def test_calls_and_results_are_told_by_name_with_their_buffers() -> None:
    transcript = Transcript()
    calls = [
        Call(257, (-100, b"/dev/x\0", 2, 0)),
        Call(0, (ResultOf(0), OutUpToResult(64), 64)),
        Call(3, (7,)),
    ]
    transcript.sent(Kind.CALLS, 5, 1, encode_calls(calls))
    answer = struct.pack("<qqI", 3, 4, 4) + b"data" + struct.pack("<q", -9)
    transcript.received(Frame(Kind.CALLS, 5, answer, 1))

    assert said(transcript) == [
        r"> 5 worker 1: openat(-100, b'/dev/x\x00', 2, 0); read(result 0, 64 bytes, 64); close(7)",
        "< 5 worker 1: 3; 4 b'data'; Bad file descriptor",
    ]


def test_programs_their_output_and_how_workers_died_are_told() -> None:
    transcript = Transcript()
    transcript.sent(Kind.RUN, 6, 0, encode_run([b"sh", b"-c", b"echo hi"], [b"A=b"]))
    transcript.received(Frame(Kind.STDOUT, 6, b"hi\n"))
    transcript.received(Frame(Kind.EXIT, 6, struct.pack("<i", 256)))
    transcript.received(Frame(Kind.ERROR, 7, struct.pack("<i", 2)))
    transcript.received(Frame(Kind.DIED, 8, struct.pack("<i", 9), 2))

    assert said(transcript) == [
        "> 6: run 'sh -c echo hi'",
        r"< 6: stdout b'hi\n'",
        "< 6: exit 256",
        "< 7: error No such file or directory",
        "< 8 worker 2: died 9",
    ]


def test_a_long_payload_is_cut_and_says_how_long_it_was() -> None:
    transcript = Transcript()
    transcript.sent(Kind.CALLS, 1, 1, encode_calls([Call(1, (3, bytes(100_000), 100_000)), Call(3, (3,))]))
    (line,) = said(transcript)
    assert line.startswith("> 1 worker 1: write(3, b'") and line.endswith("... (100000 bytes), ...")


def test_the_last_thousand_exchanges_are_kept() -> None:
    transcript = Transcript()
    for tag in range(5000):
        transcript.sent(Kind.CALLS, tag, 1, encode_calls([Call(39)]))
        transcript.received(Frame(Kind.CALLS, tag, struct.pack("<q", tag), 1))
    lines = said(transcript)
    assert len(lines) == 2000
    assert lines[0] == "> 4000 worker 1: getpid()" and lines[-1] == "< 4999 worker 1: 4999"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 3), st.binary(max_size=700))))
def test_any_frames_are_told_a_line_each(frames: list[tuple[bool, int, int, bytes]]) -> None:
    transcript = Transcript()
    for asked, kind, tag, payload in frames:
        if asked:
            transcript.sent(kind, tag, 1, payload)
        else:
            transcript.received(Frame(kind, tag, payload, 1))
    assert len(transcript.text().splitlines()) == len(frames)


@given(st.binary(max_size=2000), st.integers(0, 600))
def test_an_answer_is_told_whatever_was_asked(answer: bytes, size: int) -> None:
    transcript = Transcript()
    transcript.sent(Kind.CALLS, 1, 1, encode_calls([Call(0, (3, Out(size), size)), Call(39)]))
    transcript.received(Frame(Kind.CALLS, 1, answer, 1))
    assert len(said(transcript)) == 2
