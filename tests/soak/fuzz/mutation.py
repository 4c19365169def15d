"""Bytes that somebody damaged: flips, cuts, repeats and odd values, by a seed that makes them again."""

from __future__ import annotations

import random

#: Values at which sizes, offsets and counts go wrong.
_ODD = tuple(
    value.to_bytes(size, "little")
    for size in (1, 2, 4, 8)
    for value in (0, 1, (1 << (8 * size - 1)) - 1, 1 << (8 * size - 1), (1 << (8 * size)) - 1)
)
_WORDS = (
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\x1b[2J",
    b"\xff\xfe",
    b"%s%n",
    b"[    0.000000] ",
    b"<4>",
    b"{",
    b'"',
    b"A" * 5000,
)


def mutated(data: bytes, seed: int) -> bytes:
    """Returns a copy with 1 to 8 damages, most of them small."""
    dice = random.Random(seed)
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(out) + 1)
        end = min(len(out), at + dice.choice((1, 2, 8, 64, 4096)))
        match dice.randrange(7):
            case 0 if at < len(out):
                out[at] ^= 1 << dice.randrange(8)
            case 1:
                del out[at:end]
            case 2:
                out[at:at] = out[at:end] * dice.choice((1, 2, 50))
            case 3:
                odd = dice.choice(_ODD)
                out[at : at + len(odd)] = odd
            case 4:
                out[at:at] = dice.choice(_WORDS)
            case 5:
                del out[at:]
            case _:
                out[at:end] = dice.randbytes(end - at)
    return bytes(out)
