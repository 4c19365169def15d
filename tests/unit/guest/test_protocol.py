"""The agent's protocol: what goes in comes out, however it is cut; damage is only ever ProtocolError."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.guest.agent.protocol import (
    CHUNK,
    HEADER_SIZE,
    MAX_CALLS,
    MAX_PAYLOAD,
    Argument,
    Call,
    Frame,
    FrameReader,
    InOut,
    Out,
    OutUpToResult,
    ProtocolError,
    Result,
    ResultOf,
    decode_results,
    encode_argument,
    encode_calls,
    encode_run,
)

u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
frames = st.builds(Frame, u16, u32, st.binary(max_size=200), u16, u32)
arguments: st.SearchStrategy[Argument] = st.one_of(
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.binary(max_size=40),
    st.builds(Out, st.integers(0, 40)),
    st.builds(OutUpToResult, st.integers(0, 40)),
    st.builds(InOut, st.binary(max_size=40)),
    st.builds(ResultOf, u16),
)
calls = st.builds(Call, u16, st.lists(arguments, max_size=6).map(tuple))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def buffers_of(call: Call) -> list[Out | OutUpToResult | InOut]:
    return [argument for argument in call.arguments if isinstance(argument, Out | OutUpToResult | InOut)]


def encode_results(results: list[Result]) -> bytes:
    """What calls.c sends: a value, then each returned buffer behind its size."""
    data = b""
    for result in results:
        data += struct.pack("<q", result.value)
        data += b"".join(struct.pack("<I", len(buffer)) + buffer for buffer in result.buffers)
    return data


@given(st.lists(frames, max_size=6), st.lists(st.integers(0), max_size=30))
def test_frames_arrive_whole_whatever_pieces_they_come_in(sent: list[Frame], cuts: list[int]) -> None:
    reader = FrameReader()
    received = []
    for piece in pieces(b"".join(frame.encode() for frame in sent), cuts):
        received += reader.feed(piece)

    assert received == sent


@given(st.lists(frames, max_size=3), st.binary(max_size=300))
def test_any_bytes_are_frames_or_a_protocol_error(sent: list[Frame], noise: bytes) -> None:
    reader = FrameReader()
    assert reader.feed(b"".join(frame.encode() for frame in sent)) == sent
    try:
        for frame in reader.feed(noise):
            assert len(frame.payload) <= MAX_PAYLOAD
    except ProtocolError:
        assert len(noise) >= HEADER_SIZE


def test_a_frame_too_large_is_refused_before_it_is_kept() -> None:
    with pytest.raises(ProtocolError, match="1048577 bytes"):
        FrameReader().feed(struct.pack("<IIIHH", MAX_PAYLOAD + 1, 0, 0, 0, 0))


@st.composite
def answered_calls(draw: st.DrawFn) -> tuple[list[Call], list[Result]]:
    made = draw(st.lists(calls, max_size=6))
    results = []
    for call in made[: draw(st.integers(0, len(made)))]:
        value = draw(st.integers(-(1 << 63), (1 << 63) - 1))
        buffers = [draw(st.binary(max_size=40)) for _ in buffers_of(call)]
        results.append(Result(value, tuple(buffers)))
    return made, results


@given(answered_calls())
def test_results_are_what_the_agent_sent(case: tuple[list[Call], list[Result]]) -> None:
    made, results = case

    assert decode_results(encode_results(results), made) == results


@given(answered_calls(), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=6), st.integers(0))
def test_damaged_results_are_results_or_a_protocol_error(
    case: tuple[list[Call], list[Result]], changes: list[tuple[int, int]], cut: int
) -> None:
    made, results = case
    data = bytearray(encode_results(results))
    for at, byte in changes:
        if data:
            data[at % len(data)] = byte
    data = data[: cut % (len(data) + 1)]
    try:
        decoded = decode_results(bytes(data), made)
    except ProtocolError:
        return
    assert len(decoded) <= len(made)
    assert sum(len(buffer) for result in decoded for buffer in result.buffers) <= len(data)


def test_bytes_behind_the_last_result_are_an_error() -> None:
    with pytest.raises(ProtocolError, match="4 bytes behind"):
        decode_results(struct.pack("<q", 0) + b"more", [Call(39)])


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_a_word_is_given_in_twos_complement(value: int) -> None:
    kind, word = struct.unpack("<BQ", encode_argument(value))

    assert (kind, word) == (0, value % (1 << 64))


@pytest.mark.parametrize(("value", "number"), [(-1, 1), (-4095, 4095), (-4096, 0), (0, 0), (1 << 62, 0)])
def test_only_the_kernels_range_of_errors_is_an_errno(value: int, number: int) -> None:
    assert Result(value).errno == number


class TestWhatDoesNotFitIsRefusedBeforeItIsSent:
    """The agent could refuse it too, but only after it carried out the calls before."""

    def test_too_many_calls(self) -> None:
        encode_calls([Call(39)] * MAX_CALLS)
        with pytest.raises(ValueError, match="4097 calls"):
            encode_calls([Call(39)] * (MAX_CALLS + 1))

    def test_too_many_arguments(self) -> None:
        with pytest.raises(ValueError, match="at most six"):
            encode_calls([Call(39, (0,) * 7)])

    def test_a_number_that_is_none(self) -> None:
        for number in (-1, 1 << 16):
            with pytest.raises(ValueError, match="16 bits"):
                encode_calls([Call(number)])

    def test_too_much_to_send(self) -> None:
        with pytest.raises(ValueError, match="do not fit one frame"):
            encode_calls([Call(1, (3, bytes(MAX_PAYLOAD), MAX_PAYLOAD))])

    @pytest.mark.parametrize("kind", [Out, OutUpToResult])
    def test_too_much_to_return(self, kind: type[Out | OutUpToResult]) -> None:
        encode_calls([Call(0, (3, kind(CHUNK), CHUNK))])
        with pytest.raises(ValueError, match="returns does not fit"):
            encode_calls([Call(0, (3, kind(MAX_PAYLOAD), MAX_PAYLOAD))])

    def test_something_that_is_no_argument(self) -> None:
        with pytest.raises(TypeError, match="not an argument"):
            encode_calls([Call(0, ("text",))])  # type: ignore[arg-type]


texts = st.binary(max_size=20).map(lambda text: text.replace(b"\0", b"x"))


@given(st.lists(texts, min_size=1, max_size=5), st.lists(texts, max_size=5), texts, texts)
def test_a_program_is_its_strings_in_order(
    argv: list[bytes], environment: list[bytes], directory: bytes, path: bytes
) -> None:
    payload = encode_run(argv, environment, directory, path)

    assert struct.unpack_from("<HH", payload) == (len(argv), len(environment))
    assert payload[4:].split(b"\0") == [path, directory, *argv, *environment, b""]


def test_a_program_that_cannot_be_told_is_refused() -> None:
    for argv, match in [
        ([], "1 to 1000"),
        ([b"a\0b"], "NUL"),
        ([b"x"] * 1025, "1 to 1000"),
        ([bytes([97]) * MAX_PAYLOAD], "fit one frame"),
    ]:
        with pytest.raises(ValueError, match=match):
            encode_run(argv, [])
