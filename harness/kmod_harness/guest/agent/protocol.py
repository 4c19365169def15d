"""The protocol of the agent's port: frames, calls and their results, as pure functions.

The other end is src/protocol.h; the two change together with PROTOCOL_VERSION.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from kmod_harness.errors import MachineFailure

PROTOCOL_VERSION = 1
#: The largest payload either side accepts, in bytes.
MAX_PAYLOAD = 1 << 20
#: The most calls one frame may hold.
MAX_CALLS = 4096
#: A chunk of file content that fits a frame beside its arguments, in bytes.
CHUNK = 512 * 1024

_HEADER = struct.Struct("<IIIHH")
HEADER_SIZE = _HEADER.size


class Kind(IntEnum):
    HELLO = 1
    START = 2
    STOP = 3
    CALLS = 4
    RUN = 5
    SIGNAL = 6
    DIED = 16
    STDOUT = 17
    STDERR = 18
    EXIT = 19
    ERROR = 20


class ProtocolError(MachineFailure):
    """The guest sent what is no frame or no result: it is broken or not ours."""


@dataclass(frozen=True)
class Frame:
    kind: int
    tag: int
    payload: bytes = b""
    worker: int = 0
    epoch: int = 0

    def encode(self) -> bytes:
        header = _HEADER.pack(len(self.payload), self.epoch, self.tag, self.worker, self.kind)
        return header + self.payload


class FrameReader:
    """Cuts a stream of bytes into frames, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    @property
    def is_between_frames(self) -> bool:
        """True when every byte so far belongs to a complete frame."""
        return not self._bytes

    def feed(self, data: bytes) -> list[Frame]:
        """Returns the frames that are complete now. Raises ProtocolError on an impossible size."""
        self._bytes += data
        frames = []
        while len(self._bytes) >= HEADER_SIZE:
            size, epoch, tag, worker, kind = _HEADER.unpack_from(self._bytes)
            if size > MAX_PAYLOAD:
                raise ProtocolError(f"the agent announced a frame of {size} bytes")
            end = HEADER_SIZE + size
            if len(self._bytes) < end:
                break
            frames.append(Frame(kind, tag, bytes(self._bytes[HEADER_SIZE:end]), worker, epoch))
            del self._bytes[:end]
        return frames


# --- calls


@dataclass(frozen=True)
class Out:
    """A zeroed buffer of `size` bytes in the guest, returned whole."""

    size: int


@dataclass(frozen=True)
class OutUpToResult:
    """A zeroed buffer, returned up to the call's result: what read(2) filled."""

    size: int


@dataclass(frozen=True)
class InOut:
    """A buffer that starts as `data` and is returned whole."""

    data: bytes


@dataclass(frozen=True)
class ResultOf:
    """The result of an earlier call of the same batch."""

    index: int


Argument = int | bytes | Out | OutUpToResult | InOut | ResultOf


@dataclass(frozen=True)
class Call:
    """A system call: its number (x86-64) and up to six arguments."""

    number: int
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Result:
    """The result of a call: the kernel's value (-errno on failure) and the returned buffers."""

    value: int
    buffers: tuple[bytes, ...] = ()

    @property
    def errno(self) -> int:
        """The positive errno, 0 when the call succeeded."""
        return -self.value if -4096 < self.value < 0 else 0


#: Calls of the agent's own: copy from or to the worker's memory.
PEEK = 0xF001
POKE = 0xF002
#: Names below a directory: path, depth, name of directories to pass over, buffer (src/names.h).
NAMES = 0xF003


def encode_argument(argument: Argument) -> bytes:
    match argument:
        case int():
            return struct.pack("<BQ", 0, argument & 0xFFFFFFFFFFFFFFFF)
        case bytes():
            return struct.pack("<BI", 1, len(argument)) + argument
        case Out(size):
            return struct.pack("<BI", 2, size)
        case OutUpToResult(size):
            return struct.pack("<BI", 3, size)
        case InOut(data):
            return struct.pack("<BI", 4, len(data)) + data
        case ResultOf(index):
            return struct.pack("<BH", 5, index)
    raise TypeError(
        f"not an argument of a call: {argument!r}; an int, bytes, or a buffer: kmod_harness.Out, InOut"
    )


def _answer_size(call: Call) -> int:
    """Returns the most bytes a call's result may take, as calls.c lays it out (buffers to 16 bytes)."""
    size = 8
    for argument in call.arguments:
        if isinstance(argument, Out | OutUpToResult):
            size += 4 + (argument.size + 15 & ~15)
        elif isinstance(argument, InOut):
            size += 4 + len(argument.data)
    return size


def encode_calls(calls: Sequence[Call], *, stop_on_error: bool = False) -> bytes:
    """Returns the payload of a CALLS frame. Raises ValueError when it does not fit one."""
    if len(calls) > MAX_CALLS:
        raise ValueError(f"{len(calls)} calls do not fit one frame (at most {MAX_CALLS})")
    parts = [struct.pack("<HH", len(calls), int(stop_on_error))]
    for call in calls:
        if len(call.arguments) > 6:
            raise ValueError(f"a system call takes at most six arguments: {call!r}")
        if not 0 <= call.number <= 0xFFFF:
            raise ValueError(f"a system call's number has 16 bits here: {call.number}")
        if _answer_size(call) > MAX_PAYLOAD:
            raise ValueError(f"what {call!r} returns does not fit one frame (at most {MAX_PAYLOAD} bytes)")
        parts.append(struct.pack("<HB", call.number, len(call.arguments)))
        parts.extend(map(encode_argument, call.arguments))
    payload = b"".join(parts)
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"calls of {len(payload)} bytes do not fit one frame (at most {MAX_PAYLOAD})")
    return payload


def decode_results(payload: bytes, calls: Sequence[Call]) -> list[Result]:
    """Returns the results of `calls`, fewer when the agent stopped at an error. Raises ProtocolError."""
    results = []
    at = 0
    try:
        for call in calls:
            if at == len(payload):
                break
            (value,) = struct.unpack_from("<q", payload, at)
            at += 8
            buffers = []
            for argument in call.arguments:
                if isinstance(argument, Out | OutUpToResult | InOut):
                    (size,) = struct.unpack_from("<I", payload, at)
                    at += 4
                    if size > len(payload) - at:
                        raise ProtocolError("a result is longer than its frame")
                    buffers.append(payload[at : at + size])
                    at += size
            results.append(Result(value, tuple(buffers)))
    except struct.error as error:
        raise ProtocolError(f"a result is cut short: {error}") from error
    if at != len(payload):
        raise ProtocolError(f"{len(payload) - at} bytes behind the last result")
    return results


def encode_run(
    argv: Sequence[bytes], environment: Sequence[bytes], directory: bytes = b"", input_path: bytes = b""
) -> bytes:
    """Returns the payload of a RUN frame. Raises ValueError for a NUL or too many strings."""
    strings = [input_path, directory, *argv, *environment]
    if not argv or len(strings) > 1024:
        raise ValueError(f"a program takes 1 to 1000 arguments and variables, not {len(strings) - 2}")
    if any(b"\0" in text for text in strings):
        raise ValueError("an argument or variable holds a NUL byte")
    header = struct.pack("<HH", len(argv), len(environment))
    payload = header + b"".join(text + b"\0" for text in strings)
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a command line of {len(payload)} bytes does not fit one frame")
    return payload
