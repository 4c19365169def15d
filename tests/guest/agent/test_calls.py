"""System calls through the agent: exact errnos, any bytes, bad pointers, processes that block or die."""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kmod_harness.errors import GuestHang, Misuse, ProcessKilled
from kmod_harness.guest.agent.protocol import MAX_CALLS, Call, InOut, Out, OutUpToResult, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.guest import Guest

GETPID, KILL, PIPE, READ = NUMBERS["getpid"], NUMBERS["kill"], NUMBERS["pipe"], NUMBERS["read"]
PAGE = 4096


@pytest.mark.parametrize(
    ("path", "flags", "number"),
    [
        ("/nonexistent", os.O_RDONLY, errno.ENOENT),
        ("/etc/passwd/x", os.O_RDONLY, errno.ENOTDIR),
        ("/tmp", os.O_WRONLY, errno.EISDIR),
        ("/etc/passwd", os.O_CREAT | os.O_EXCL, errno.EEXIST),
        ("x" * 300, os.O_RDONLY, errno.ENAMETOOLONG),
    ],
)
def test_opens_fail_with_the_guests_errno_and_path(guest: Guest, path: str, flags: int, number: int) -> None:
    with pytest.raises(OSError) as failed:
        guest.open(path, flags)

    assert failed.value.errno == number
    assert failed.value.filename == path


def test_errors_are_the_subclasses_python_has_for_them(guest: Guest) -> None:
    with pytest.raises(FileNotFoundError):
        guest.read_file("/nonexistent")
    with pytest.raises(FileExistsError):
        guest.syscaller.mkdir("/tmp")


def test_any_bytes_go_through_a_file(guest: Guest) -> None:
    data = bytes(range(256)) * 17 + b"\0" * 5 + b"kmod"

    guest.write_file("/tmp/bytes", data)

    assert guest.read_file("/tmp/bytes") == data


def test_16_mib_go_in_one_write_and_come_back_in_one_read(guest: Guest) -> None:
    data = os.urandom(1 << 20) * 16

    with guest.open("/tmp/large", os.O_RDWR | os.O_CREAT | os.O_TRUNC) as file:
        assert file.write(data) == len(data)
        file.lseek(0)
        assert file.read(len(data) + 1) == data
    guest.syscaller.unlink("/tmp/large")


class TestBadPointers:
    """Given to write(2) of a file in tmpfs."""

    @pytest.mark.parametrize("address", [0, 8, 0x7FFF_FFFF_F000, 0xFFFF_FFFF_FFFF_0000])
    def test_an_unmapped_address_is_efault(self, guest: Guest, address: int) -> None:
        with guest.process() as process, process.open("/tmp/p", os.O_RDWR | os.O_CREAT) as file:
            with pytest.raises(OSError) as failed:
                file.write_at(address, 16)
            assert failed.value.errno == errno.EFAULT

    def test_a_page_without_permission_is_efault(self, guest: Guest) -> None:
        with guest.process() as process, process.open("/tmp/p", os.O_RDWR | os.O_CREAT) as file:
            page = process.allocate(PAGE, protection=0)
            with pytest.raises(OSError) as failed:
                file.write_at(page, 16)
            assert failed.value.errno == errno.EFAULT

    def test_a_buffer_that_straddles_into_nothing_is_taken_up_to_there(self, guest: Guest) -> None:
        with guest.process() as process, process.open("/tmp/p", os.O_RDWR | os.O_CREAT | os.O_TRUNC) as file:
            pages = process.allocate(2 * PAGE)
            process.poke(pages + PAGE - 8, b"straddle")
            process.call("munmap", pages + PAGE, PAGE)
            assert file.write_at(pages + PAGE - 8, 16) == 8
            assert process.read_file("/tmp/p") == b"straddle"

    def test_memory_is_what_was_poked_and_a_bad_poke_kills_only_its_process(self, guest: Guest) -> None:
        process = guest.process()
        page = process.allocate(PAGE)
        process.poke(page + 7, b"\0any\xff")
        assert process.peek(page + 6, 7) == b"\0\0any\xff\0"

        with pytest.raises(ProcessKilled) as killed:
            process.peek(0, 1)

        assert (killed.value.signal, killed.value.call) == (signal.SIGSEGV, "peek")
        assert not process.is_alive
        assert guest.exists("/etc/passwd")


class TestBatches:
    def test_4096_calls_are_one_round_trip(self, guest: Guest) -> None:
        results = guest.syscaller.batch([Call(GETPID)] * MAX_CALLS)

        assert {result.value for result in results} == {guest.syscaller.pid}
        assert len(results) == MAX_CALLS

    def test_a_call_uses_the_result_of_an_earlier_one(self, guest: Guest) -> None:
        calls = [
            Call(NUMBERS["openat"], (-100, b"/proc/self/comm\0", os.O_RDONLY, 0)),
            Call(READ, (ResultOf(0), OutUpToResult(64), 64)),
            Call(NUMBERS["close"], (ResultOf(0),)),
        ]

        assert guest.syscaller.batch(calls)[1].buffers == (b"harness-worker\n",)

    def test_it_stops_at_an_error_only_when_told_to(self, guest: Guest) -> None:
        calls = [Call(GETPID), Call(NUMBERS["close"], (999,)), Call(GETPID)]

        assert [result.errno for result in guest.syscaller.batch(calls)] == [0, errno.EBADF, 0]
        stopped = guest.syscaller.batch(calls, stop_on_error=True)
        assert [result.errno for result in stopped] == [0, errno.EBADF]

    def test_buffers_of_all_kinds_come_back(self, guest: Guest) -> None:
        descriptors = guest.syscaller.call("pipe", Out(8)).buffers[0]
        reader, writer = struct.unpack("<ii", descriptors)
        asked = InOut(struct.pack("<ihh", writer, select.POLLOUT, 0))
        ready = guest.syscaller.call("poll", asked, 1, 0)
        assert struct.unpack("<ihh", ready.buffers[0])[2] == select.POLLOUT
        guest.syscaller.call("write", writer, b"pipe", 4)
        assert guest.syscaller.call("read", reader, OutUpToResult(100), 100).buffers == (b"pipe",)


class TestProcesses:
    def test_one_that_blocks_stops_nobody_else(self, guest: Guest) -> None:
        guest.syscaller.call("mknod", b"/tmp/fifo\0", 0o10600, 0)
        reader, writer = guest.process(), guest.process()
        read_end = reader.open("/tmp/fifo", os.O_RDWR)
        waiting = read_end.read_async(16)

        assert guest.run(["echo", "meanwhile"]).stdout == b"meanwhile\n"
        assert not waiting.done()
        with writer.open("/tmp/fifo", os.O_WRONLY) as write_end:
            write_end.write(b"ready")
        assert waiting.result(timeout=10) == b"ready"
        guest.syscaller.unlink("/tmp/fifo")

    def test_one_that_blocks_says_so_when_it_is_asked_again(self, guest: Guest) -> None:
        process = guest.process()
        reader, _ = struct.unpack("<ii", process.call("pipe", Out(8)).buffers[0])
        waiting = process.begin([Call(READ, (reader, OutUpToResult(1), 1))])

        with pytest.raises(Misuse, match="still busy"):
            process.call("getpid")
        with pytest.raises(GuestHang, match=r"read in the guest took longer than 0\.2 s"):
            waiting.results(timeout=0.2)
        process.kill()
        with pytest.raises(ProcessKilled):
            waiting.results()

    def test_the_guest_goes_on_after_one_of_its_own_calls_hung(self, guest: Guest) -> None:
        reader, _ = struct.unpack("<ii", guest.syscaller.call("pipe", Out(8)).buffers[0])
        with pytest.raises(GuestHang):
            guest.syscaller.syscall(READ, reader, OutUpToResult(1), 1, timeout=0.2)

        assert guest.exists("/etc/passwd")
        assert guest.judge(guest.kernel_log.mark()) == ()

    def test_a_file_left_by_a_call_that_hung_hides_nothing(self, guest: Guest) -> None:
        guest.syscaller.call("mknod", b"/tmp/fifo2\0", 0o10600, 0)
        with (
            pytest.raises(GuestHang),
            guest.process() as process,
            process.open("/tmp/fifo2", os.O_RDWR) as file,
        ):
            file.read_async(1).result(timeout=0.2)
        guest.syscaller.unlink("/tmp/fifo2")

    def test_one_that_was_killed_from_outside_is_known_to_be_dead(self, guest: Guest) -> None:
        victim = guest.process()
        guest.syscaller.call("kill", victim.pid, signal.SIGKILL)

        with pytest.raises(ProcessKilled) as killed:
            for _ in range(100):
                victim.call("getpid")
        assert killed.value.signal == signal.SIGKILL
        heir = guest.process()
        assert heir.call("getpid").value == heir.pid
        assert not victim.is_alive

    def test_one_that_exits_is_not_said_to_be_killed(self, guest: Guest) -> None:
        exit_group = 231
        with pytest.raises(ProcessKilled, match="ended with status 3 in exit_group") as ended:
            guest.process().syscall(exit_group, 3)
        assert ended.value.signal == 0

    def test_a_call_that_there_is_not_is_told_with_those_of_a_like_name(self, guest: Guest) -> None:
        with pytest.raises(Misuse, match="no system call 'epoll_created'") as raised:
            guest.syscaller.call("epoll_created", 1)
        assert "epoll_create" in raised.value.advice
        assert guest.syscaller.call("epoll_create1", 0).value > 2

    def test_63_live_at_once_and_the_64th_is_refused(self, guest: Guest) -> None:
        guest.syscaller.call("getpid")
        processes = [guest.process() for _ in range(62)]

        assert len({process.call("getpid").value for process in processes}) == 62
        with pytest.raises(BlockingIOError):
            guest.process()
        for process in processes:
            process.kill()
        assert guest.process().is_alive

    def test_each_has_its_own_files_and_directory(self, guest: Guest) -> None:
        one, other = guest.process(), guest.process()
        one.call("chdir", b"/proc\0")

        assert one.call("getcwd", Out(16), 16).buffers[0].startswith(b"/proc\0")
        assert other.call("getcwd", Out(16), 16).buffers[0].startswith(b"/\0")
        assert one.open("/etc/passwd").fd == other.open("/etc/passwd").fd == 3


@pytest.mark.expect_splat("OOPS")
def test_an_oops_kills_the_writer_and_nobody_else(guest: Guest, faulty_ko: Path) -> None:
    mark = guest.kernel_log.mark()
    with guest.load(faulty_ko, fault="oops", when="write"):
        writer = guest.process()
        with pytest.raises(ProcessKilled) as killed, writer.open("/dev/faulty", os.O_WRONLY) as device:
            device.write(b"x")
        assert (killed.value.signal, killed.value.call) == (signal.SIGKILL, "write")
        assert not writer.is_alive
        assert guest.run(["true"]).status == 0
    assert [splat.kind for splat in guest.judge(mark)] == ["OOPS"]


def test_the_agent_is_as_fast_as_it_must_be(
    guest: Guest, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    def best_rate(act: Callable[[], object], calls: int, tries: int) -> float:
        """The best of many short tries: what else runs on this machine slows down some of them."""
        rates = []
        for _ in range(tries):
            started = time.monotonic()
            act()
            rates.append(calls / (time.monotonic() - started))
        return max(rates)

    process, call = guest.syscaller, Call(GETPID)
    process.batch([call])
    single = best_rate(lambda: [process.batch([call]) for _ in range(20)], 20, tries=60)
    batched = best_rate(lambda: process.batch([call] * 1000), 1000, tries=10)

    request.node.user_properties.append(("single_calls_per_second", round(single)))
    request.node.user_properties.append(("batched_calls_per_second", round(batched)))
    with capsys.disabled():
        print(f"\n  agent: {single:.0f} single calls/s, {batched:.0f} in batches")
    assert single >= 800
    assert batched >= 8000
