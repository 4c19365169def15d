"""Which files of a process may be a driver's, and how a holder is told."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping, Sequence

import pytest

from kmod_harness.guest.agent.protocol import Call, Result, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.programs.holders import Holder, holders_of, other_users

MAPS = """\
00400000-00401000 r-xp 00000000 00:02 12 /bin/reader
7f0000000000-7f0000001000 rw-s 00000000 00:05 7                          /dev/my device
7f0000002000-7f0000003000 rw-s 00000000 00:01 9                          /dev/zero (deleted)
7ffc00000000-7ffc00001000 rw-p 00000000 00:00 0                          [stack]
"""


class Proc:
    """A guest's /proc: directories by their names, texts and links by their paths."""

    def __init__(
        self, directories: Mapping[str, Sequence[str]], texts: Mapping[str, str], links: Mapping[str, str]
    ) -> None:
        self._directories, self._texts, self._links = directories, texts, links

    def batch(self, calls: Sequence[Call]) -> list[Result]:
        results: list[Result] = []
        opened: dict[int, list[bytes]] = {}
        for index, call in enumerate(calls):
            name = next(name for name, number in NUMBERS.items() if number == call.number)
            first = call.arguments[0]
            if name == "openat":
                path = _text(call.arguments[1])
                found = self._content(path)
                opened[index] = [] if found is None else [found]
                results.append(Result(-errno.ENOENT if found is None else 3))
            elif name == "readlink":
                link = self._links.get(_text(first))
                results.append(Result(-errno.ENOENT, (b"",)) if link is None else Result(9, (link.encode(),)))
            elif name in ("read", "getdents64"):
                assert isinstance(first, ResultOf)
                left = opened[first.index]
                results.append(Result(0, (left.pop() if left else b"",)))
            else:
                results.append(Result(0))
        return results

    def _content(self, path: str) -> bytes | None:
        if path in self._directories:
            return b"".join(map(_entry, self._directories[path]))
        return self._texts[path].encode() if path in self._texts else None


def _text(argument: object) -> str:
    assert isinstance(argument, bytes)
    return os.fsdecode(argument.rstrip(b"\0"))


def _entry(name: str) -> bytes:
    data = os.fsencode(name) + b"\0"
    return struct.pack("<QQHB", 1, 1, 19 + len(data), 10) + data


def proc(links: Sequence[str], maps: str = "", comm: str = "reader") -> Proc:
    files = [str(number) for number in range(len(links))]
    return Proc(
        {"/proc": ["40", "self", "mounts"], "/proc/40/fd": files},
        {"/proc/40/maps": maps, "/proc/40/comm": f"{comm}\n"},
        {f"/proc/40/fd/{number}": link for number, link in zip(files, links, strict=True)},
    )


@pytest.mark.parametrize("path", ["/dev/my0", "/dev/snd/my", "/sys/kernel/debug/my", "/proc/my_entry"])
def test_a_process_with_a_drivers_file_open_is_named(path: str) -> None:
    (holder,) = holders_of(proc([path, path]))
    assert str(holder) == f"process 40 (reader) has {path} open"


def test_a_mapping_without_a_file_is_named() -> None:
    assert holders_of(proc([], MAPS)) == [Holder(40, "reader", ("/dev/my device mapped",))]


def test_files_that_hold_no_module_are_not_named() -> None:
    links = ["/dev/null", "/dev/zero (deleted)", "pipe:[3]", "/dev/vport0p1", "/proc/40/maps", "/bin/sh"]
    assert holders_of(proc(links)) == []


def test_a_process_of_the_harness_is_told_as_one() -> None:
    (holder,) = holders_of(proc(["/dev/my0"], comm="harness-worker"))
    assert holder.is_the_harness_own and "one of this test's own" in str(holder)


def test_modules_and_mounts_are_users_too() -> None:
    guest = Proc(
        {"/sys/module/my_fs/holders": ["other"]},
        {"/proc/mounts": "none /mnt my_fs rw 0 0\nnone /proc proc rw 0 0\n"},
        {},
    )
    assert other_users(guest, "my_fs") == ["the module other uses it", "/mnt is mounted with it"]


def test_a_guest_without_proc_tells_nothing() -> None:
    assert holders_of(Proc({}, {}, {})) == []
    assert other_users(Proc({}, {}, {}), "x") == []
