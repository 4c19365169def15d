"""Memory compared with its prediction: each byte that differs gets the mechanism that wrote it, or none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from kmod_harness.verify.image import SectionImage
from kmod_harness.verify.mechanism import Mechanism, code_of, mechanism_of

_DIFFERENT = re.compile(rb"[^\0]+")
_LABEL = re.compile(rb"([^\0])\1*", re.DOTALL)
_UNEXPLAINED = 0xFF
#: For a field that may hold anything: bytes that nobody wrote, or that differ, count for the mechanism.
_FREED = {
    mechanism: bytes((code_of(mechanism), *range(1, _UNEXPLAINED), code_of(mechanism)))
    for mechanism in Mechanism
}


@dataclass(frozen=True)
class Difference:
    """Bytes written by one mechanism, from the first that changed to the last.

    address: address of the first byte
    linked: bytes as relocation left them
    expected: bytes that memory should hold
    now: bytes in memory
    mechanism: the mechanism that wrote them, None for bytes that nothing explains
    """

    address: int
    linked: bytes
    expected: bytes
    now: bytes
    mechanism: Mechanism | None

    @property
    def size(self) -> int:
        return len(self.now)


@dataclass(frozen=True)
class Comparison:
    """The result for one section.

    equal: number of bytes that are as relocation left them
    explained: mechanism -> number of bytes that differ by it
    differences: runs of bytes that differ
    """

    equal: int
    explained: Counter[Mechanism]
    differences: tuple[Difference, ...] = field(repr=False)

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        return tuple(difference for difference in self.differences if difference.mechanism is None)


def compare(part: SectionImage, memory: bytes) -> Comparison:
    """Returns every difference between `memory` and the linked bytes of the section, with its mechanism."""
    right = bytes(part.data)
    labels = bytearray(part.owner)
    for start, stop in _runs(_xor(right, memory)):
        labels[start:stop] = bytes((_UNEXPLAINED,)) * (stop - start)
    for allowed in part.allowed:
        start = allowed.start - part.address
        stop = start + allowed.size
        if allowed.accepts(memory[start:stop]):
            labels[start:stop] = labels[start:stop].translate(_FREED[allowed.mechanism])
    changed = _xor(part.linked, memory)
    found: list[Difference] = []
    explained: Counter[Mechanism] = Counter()
    for run in _LABEL.finditer(labels):
        start, stop = run.span()
        mechanism = mechanism_of(run[1][0]) if run[1][0] != _UNEXPLAINED else None
        if mechanism is not None:
            start, stop = _trimmed(changed, start, stop)
            if start == stop:
                continue  # the same bytes were there before
            explained[mechanism] += stop - start - changed.count(0, start, stop)
        found.append(
            Difference(
                part.address + start,
                part.linked[start:stop],
                right[start:stop],
                memory[start:stop],
                mechanism,
            )
        )
    return Comparison(changed.count(0), explained, tuple(found))


def _xor(one: bytes, other: bytes) -> bytes:
    """Returns the exclusive or of two byte strings of one length: zero where they are equal."""
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(len(one), "little")


def _runs(different: bytes) -> Iterator[tuple[int, int]]:
    """Yields start and end of each run that is not zero."""
    return (run.span() for run in _DIFFERENT.finditer(different))


def _trimmed(different: bytes, start: int, stop: int) -> tuple[int, int]:
    """Returns the range without equal bytes at its ends; an empty one when all are equal."""
    seen = different[start:stop]
    return stop - len(seen.lstrip(b"\0")), start + len(seen.rstrip(b"\0")) if any(seen) else stop
