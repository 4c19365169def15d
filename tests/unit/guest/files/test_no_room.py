"""A guest that is too small for its files: the message says how large it has to be."""

from __future__ import annotations

import errno
import os

import pytest

from kmod_harness.errors import Misuse
from kmod_harness.guest.files.no_room import raise_if_no_room


def answered(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("size", "memory", "asked"),
    [(1 << 20, 256, "--memory 512M"), (160 << 20, 256, "--memory 1G"), (3 << 30, 1024, "--memory 8G")],
)
def test_the_message_names_the_size_to_ask_for(size: int, memory: int, asked: str) -> None:
    with pytest.raises(Misuse, match=r"no room for fat\.ko") as raised:
        raise_if_no_room(answered(errno.ENOSPC), "fat.ko", size, memory)
    assert raised.value.advice.startswith(asked)


def test_another_answer_is_left_alone() -> None:
    raise_if_no_room(answered(errno.EACCES), "fat.ko", 1, 256)
