"""The last requests to the agent and its answers, kept as they crossed the port."""

from __future__ import annotations

import os
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from kmod_harness.guest.agent.protocol import Frame, Kind
from kmod_harness.guest.agent.syscall_table import NUMBERS

#: Frames kept, one for a request and one for its answer; bytes of a payload.
_FRAMES = 2000
_PAYLOAD_BYTES = 512
#: Bytes of one buffer that are told.
_BUFFER_BYTES = 80
_NAMES = {number: name for name, number in NUMBERS.items()}
#: Kinds of arguments (protocol.encode_argument): those that come back with the result.
_INT, _IN, _OUT, _OUT_UP_TO_RESULT, _IN_OUT, _RESULT_OF = range(6)
_RETURNED = (_OUT, _OUT_UP_TO_RESULT, _IN_OUT)


class _Cut(Exception):
    """The rest of a payload was not kept."""


@dataclass
class _Words:
    """A payload read piece by piece."""

    data: bytes
    at: int = 0

    def take(self, form: str) -> tuple[int, ...]:
        size = struct.calcsize(form)
        if self.at + size > len(self.data):
            raise _Cut
        self.at += size
        return struct.unpack_from(form, self.data, self.at - size)

    def bytes(self, size: int) -> str:
        kept = self.data[self.at : self.at + size]
        self.at += size
        shown = repr(bytes(kept[:_BUFFER_BYTES]))
        return shown if size <= _BUFFER_BYTES else f"{shown}... ({size} bytes)"


@dataclass
class Transcript:
    """A ring of frames; noting one costs less than a microsecond."""

    began: float = field(default_factory=time.monotonic)
    _frames: deque[tuple[float, str, int, int, int, int, bytes]] = field(
        default_factory=lambda: deque(maxlen=_FRAMES)
    )

    def sent(self, kind: int, tag: int, worker: int, payload: bytes) -> None:
        self._frames.append(
            (time.monotonic(), ">", kind, tag, worker, len(payload), payload[:_PAYLOAD_BYTES])
        )

    def received(self, frame: Frame) -> None:
        payload = frame.payload
        self._frames.append(
            (
                time.monotonic(),
                "<",
                frame.kind,
                frame.tag,
                frame.worker,
                len(payload),
                payload[:_PAYLOAD_BYTES],
            )
        )

    def text(self) -> str:
        """Returns a line for each frame: seconds, direction, tag, worker, what it says."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        #: tag -> for each call, how many of its arguments come back
        asked: dict[int, list[int]] = {}
        for at, way, kind, tag, worker, size, payload in self._frames:
            words = _Words(payload)
            if kind == Kind.CALLS and way == ">":
                told, asked[tag] = _calls(words)
            elif kind == Kind.CALLS:
                told = _results(words, asked.pop(tag, []))
            else:
                told = _other(kind, way, words, size)
            who = f" worker {worker}" if worker else ""
            yield f"{at - self.began:11.6f} {way} {tag}{who}: {told}"


def _calls(words: _Words) -> tuple[str, list[int]]:
    """Returns the calls of a frame, and of each the number of buffers that come back."""
    told: list[str] = []
    returned: list[int] = []
    shown: list[str] = []
    name: int | str = ""
    try:
        count, _ = words.take("<HH")
        for _ in range(count):
            name, shown = "", []
            number, arguments = words.take("<HB")
            name = _NAMES.get(number, number)
            kinds = []
            for _ in range(arguments):
                kind, text = _argument(words)
                kinds.append(kind)
                shown.append(text)
            told.append(f"{name}({', '.join(shown)})")
            returned.append(sum(kind in _RETURNED for kind in kinds))
    except _Cut:
        told.append(f"{name}({', '.join([*shown, '...'])}" if name != "" else "...")
    return "; ".join(told), returned


def _argument(words: _Words) -> tuple[int, str]:
    (kind,) = words.take("<B")
    if kind == _INT:
        (value,) = words.take("<q")
        return kind, _number(value)
    if kind == _RESULT_OF:
        (index,) = words.take("<H")
        return kind, f"result {index}"
    (size,) = words.take("<I")
    return kind, words.bytes(size) if kind in (_IN, _IN_OUT) else f"{size} bytes"


def _number(value: int) -> str:
    """A small number as such, an address as one."""
    return str(value) if -(1 << 16) < value < 1 << 16 else f"{value & (1 << 64) - 1:#x}"


def _results(words: _Words, returned: list[int]) -> str:
    told: list[str] = []
    try:
        for buffers in returned:
            if words.at == len(words.data):
                break
            (value,) = words.take("<q")
            text = os.strerror(-value) if -4096 < value < 0 else _number(value)
            for _ in range(buffers):
                (size,) = words.take("<I")
                text += f" {words.bytes(size)}"
            told.append(text)
    except _Cut:
        told.append("...")
    return "; ".join(told)


def _other(kind: int, way: str, words: _Words, size: int) -> str:
    name = Kind(kind).name.lower() if kind in Kind.__members__.values() else f"kind {kind}"
    if kind == Kind.RUN and way == ">":
        strings = words.data[4:].split(b"\0")
        count = int.from_bytes(words.data[:2], "little")
        argv = b" ".join(strings[2 : 2 + count]).decode(errors="backslashreplace")
        return f"run {argv!r}"
    if kind in (Kind.STDOUT, Kind.STDERR):
        return f"{name} {words.bytes(size)}"
    numbers = struct.unpack(f"<{len(words.data) // 4}i", words.data[: len(words.data) // 4 * 4])
    if kind == Kind.ERROR and numbers:
        return f"error {os.strerror(abs(numbers[0]))}"
    return " ".join([name, *map(str, numbers[:4])])
