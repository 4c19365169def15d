"""The sample driver keeps the contract of modules/chardev/README.md."""

from __future__ import annotations

import errno
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmod_harness.guest.files.open_file import GuestFile
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.loaded_module import LoadedModule

SIZE, PAGE = 4096, 4096
SET_LENGTH = 0x4008ED01


@pytest.fixture
def chardev(guest: Guest, chardev_ko: Path) -> Iterator[LoadedModule]:
    with guest.load(chardev_ko, minors=2, buffer_size=SIZE, trace_opens=True) as module:
        yield module


@pytest.fixture
def device(guest: Guest, chardev: LoadedModule) -> Iterator[GuestFile]:
    with guest.open("/dev/chardev0", os.O_RDWR) as device:
        yield device


def set_length(device: GuestFile, length: int) -> None:
    device.ioctl(SET_LENGTH, struct.pack("<Q", length))


def counters(guest: Guest, minor: int = 0) -> dict[str, int]:
    directory = f"/sys/kernel/debug/chardev/chardev{minor}"
    names = guest.syscaller.list_directory(directory)
    return {name: int(guest.read_text(f"{directory}/{name}")) for name in names}


def test_what_is_written_is_read(device: GuestFile) -> None:
    assert device.write(b"hello\0world") == 11
    device.lseek(0)

    assert device.read(5) == b"hello"
    assert device.read(64) == b"\0world"
    assert device.read(64) == b""


def test_each_minor_has_its_node_and_its_own_data(guest: Guest, device: GuestFile) -> None:
    device.write(b"zero")
    with guest.open("/dev/chardev1", os.O_RDWR) as other:
        assert other.read(10) == b""
        other.write(b"one")
    device.lseek(0)

    assert device.read(10) == b"zero"
    (major, minor), other_number = guest.device_number("/dev/chardev0"), guest.device_number("/dev/chardev1")
    assert (minor, other_number) == (0, (major, 1))
    assert f"{major} chardev" in guest.read_text("/proc/devices")
    assert guest.syscaller.stat("/dev/chardev0").st_mode & 0o777 == 0o600


def test_a_write_is_short_when_a_part_fits_and_enospc_when_nothing_does(device: GuestFile) -> None:
    assert device.write(bytes(5000)) == SIZE
    with pytest.raises(OSError) as full:
        device.write(b"x")
    assert full.value.errno == errno.ENOSPC
    assert device.write(b"") == 0


def test_a_gap_reads_as_zeros(device: GuestFile) -> None:
    device.lseek(100)
    device.write(b"end")
    device.lseek(0)

    assert device.read(SIZE) == bytes(100) + b"end"


def test_append_writes_at_the_end_wherever_the_position_is(guest: Guest, device: GuestFile) -> None:
    device.write(b"first")
    with guest.open("/dev/chardev0", os.O_RDWR | os.O_APPEND) as appender:
        appender.lseek(0)
        appender.write(b"second")
        assert appender.lseek(0, os.SEEK_CUR) == 11
    device.lseek(0)
    assert device.read(64) == b"firstsecond"


def test_two_appenders_lose_nothing(guest: Guest, chardev: LoadedModule) -> None:
    with guest.process() as one, guest.process() as other:
        files = [process.open("/dev/chardev0", os.O_WRONLY | os.O_APPEND) for process in (one, other)]
        for number in range(100):
            pending = [file.write_async(b"%d%03d\n" % (who, number)) for who, file in enumerate(files)]
            assert [write.result() for write in pending] == [5, 5]
    lines = guest.read_file("/dev/chardev0").splitlines()
    assert sorted(lines) == [b"%d%03d" % (who, number) for who in (0, 1) for number in range(100)]


def test_seeking_stops_at_the_buffers_end(device: GuestFile) -> None:
    device.write(b"12345")

    assert device.lseek(-2, os.SEEK_END) == 3
    assert device.lseek(SIZE) == SIZE
    for offset, whence in [(SIZE + 1, os.SEEK_SET), (-1, os.SEEK_SET), (1, os.SEEK_CUR)]:
        with pytest.raises(OSError) as bad:
            device.lseek(offset, whence)
        assert bad.value.errno == errno.EINVAL


class TestBadPointers:
    def test_bytes_before_a_bad_page_are_moved_and_counted(self, device: GuestFile) -> None:
        process = device.process
        pages = process.allocate(2 * PAGE)
        process.poke(pages + PAGE - 6, b"before")
        process.call("mprotect", pages + PAGE, PAGE, 0)

        assert device.write_at(pages + PAGE - 6, 100) == 6
        device.write(b"and after")
        device.lseek(0)
        assert device.read_at(pages + PAGE - 4, 100) == 4
        assert process.peek(pages + PAGE - 4, 4) == b"befo"
        process.call("munmap", pages, 2 * PAGE)

    @pytest.mark.parametrize("address", ["null", "unmapped", "prot_none"])
    def test_none_is_efault_and_nothing_has_changed(
        self, guest: Guest, device: GuestFile, address: str
    ) -> None:
        device.write(b"precious")
        device.lseek(0)
        before = counters(guest)
        bad = {"null": 0, "unmapped": 0x7000_0000_0000, "prot_none": device.process.allocate(PAGE, 0)}[
            address
        ]
        for call in (device.write_at, device.read_at):
            with pytest.raises(OSError) as fault:
                call(bad, 8)
            assert fault.value.errno == errno.EFAULT
        assert counters(guest) == before
        assert device.read(64) == b"precious"


class TestPoll:
    def test_it_tells_what_would_happen_at_the_position(self, device: GuestFile) -> None:
        assert device.poll() == select.POLLOUT
        device.write(b"x")
        assert device.poll() == select.POLLOUT
        device.lseek(0)
        assert device.poll() == select.POLLIN | select.POLLOUT
        device.lseek(SIZE)
        assert device.poll() == 0

    def test_a_reader_is_woken_by_a_writer_and_by_the_ioctl(
        self, guest: Guest, chardev: LoadedModule
    ) -> None:
        from kmod_harness.guest.agent.protocol import Call, InOut
        from kmod_harness.guest.agent.syscall_table import NUMBERS

        with guest.process() as reader, guest.open("/dev/chardev0", os.O_RDWR) as writer:
            file = reader.open("/dev/chardev0")
            for wake in (lambda: writer.write(b"x"), lambda: set_length(writer, 5)):
                asked = InOut(struct.pack("<ihh", file.fd, select.POLLIN, 0))
                waiting = reader.begin([Call(NUMBERS["poll"], (asked, 1, 10_000))])
                assert guest.run(["true"]).status == 0
                assert not waiting.done()
                wake()
                (result,) = waiting.results(timeout=5)
                assert result.value == 1
                set_length(writer, 0)


class TestIoctl:
    def test_it_cuts_and_extends_with_zeros(self, device: GuestFile) -> None:
        device.write(b"123456789")
        set_length(device, 4)
        set_length(device, 6)
        device.lseek(0)
        assert device.read(64) == b"1234\0\0"

    def test_what_it_refuses(self, guest: Guest, device: GuestFile) -> None:
        def errno_of(file: GuestFile, request: int, argument: int | bytes) -> int:
            with pytest.raises(OSError) as refused:
                file.ioctl(request, argument)
            return int(refused.value.errno or 0)

        assert errno_of(device, SET_LENGTH, struct.pack("<Q", SIZE + 1)) == errno.EINVAL
        assert errno_of(device, SET_LENGTH, 8) == errno.EFAULT
        assert errno_of(device, 0x1234, 0) == errno.ENOTTY
        with guest.open("/dev/chardev0") as read_only:
            assert errno_of(read_only, SET_LENGTH, struct.pack("<Q", 0)) == errno.EBADF

    def test_there_is_no_mmap(self, device: GuestFile) -> None:
        with pytest.raises(OSError) as refused:
            device.mmap(PAGE)
        assert refused.value.errno == errno.ENODEV


def test_truncation_by_open_does_nothing(guest: Guest, device: GuestFile) -> None:
    device.write(b"stays")
    guest.open("/dev/chardev0", os.O_WRONLY | os.O_TRUNC).close()
    device.lseek(0)
    assert device.read(64) == b"stays"


def test_only_successful_calls_are_counted(guest: Guest, device: GuestFile) -> None:
    device.write(b"12345")
    device.write(b"")
    device.lseek(0)
    device.read(3)
    device.lseek(SIZE)
    device.read(1)
    with pytest.raises(OSError):
        device.write(b"x")

    assert counters(guest) == {
        "opens": 1,
        "openers": 1,
        "reads": 2,
        "writes": 1,
        "bytes_read": 3,
        "bytes_written": 5,
        "used": 5,
    }
    device.close()
    assert counters(guest)["openers"] == 0


def test_opens_are_traced_with_the_openers_pid(guest: Guest, chardev: LoadedModule) -> None:
    mark = guest.kernel_log.mark()
    with guest.process() as opener:
        opener.open("/dev/chardev1")
        record = guest.kernel_log.await_text("chardev: open", since=mark)
    assert record.text == f"chardev: open: minor 1 (pid {opener.pid} comm harness-worker)"
    assert record.level == 6


def test_the_totals_reach_a_module_that_asks(guest: Guest, device: GuestFile, chardev_stats_ko: Path) -> None:
    device.write(b"12345")
    mark = guest.kernel_log.mark()
    with guest.load(chardev_stats_ko):
        guest.kernel_log.await_text("opens 1, reads 0 (0 bytes), writes 1 (5 bytes)", since=mark)


class Model:
    """What the driver is: a file that cannot grow."""

    def __init__(self) -> None:
        self.data, self.at = b"", 0

    def write(self, new: bytes) -> int:
        taken = new[: SIZE - self.at]
        if new and not taken:
            return -errno.ENOSPC
        if taken:
            behind = self.data[self.at + len(taken) :]
            self.data = self.data[: self.at].ljust(self.at, b"\0") + taken + behind
            self.at += len(taken)
        return len(taken)

    def read(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        self.at += len(part)
        return part


steps = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=40) | st.integers(0, 5000).map(bytes)),
    st.tuples(st.just("read"), st.integers(0, 5000)),
    st.tuples(st.just("seek"), st.integers(0, SIZE)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=12))
def test_it_is_a_file_that_cannot_grow(device: GuestFile, script: list[tuple[str, bytes | int]]) -> None:
    set_length(device, 0)
    device.lseek(0)
    model = Model()
    for kind, value in script:
        if kind == "seek":
            assert isinstance(value, int)
            model.at = device.lseek(value)
        elif kind == "read":
            assert isinstance(value, int)
            assert device.read(value) == model.read(value)
        else:
            assert isinstance(value, bytes)
            try:
                taken = device.write(value)
            except OSError as error:
                taken = -int(error.errno or 0)
            assert taken == model.write(value)
