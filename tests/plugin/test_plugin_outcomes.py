"""What a kernel does in a test, as pytest's terminal and JUnit XML tell it: one run with real guests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import RunSuite, SuiteRun

CONFTEST = """
import os
import pytest

@pytest.fixture(scope="session")
def chardev_ko():
    return {chardev!r}

@pytest.fixture(scope="session")
def faulty_ko():
    return {faulty!r}

@pytest.fixture
def write_faulty(guest, faulty_ko):
    def write(fault):
        guest.load(faulty_ko, fault=fault, when="write")
        guest.open("/dev/faulty", os.O_WRONLY).write(b"x")
    return write
"""

SUITE = """
import os, signal
import pytest
from kmod_harness.errors import GuestHang, KernelPanic
from kmod_harness.guest import ProcessKilled

def test_passes(guest, chardev_ko):
    with guest.load(chardev_ko), guest.open("/dev/chardev0", os.O_RDWR) as device:
        assert device.write(b"hello") == 5

def test_fails(guest):
    assert guest.shell.run("echo $((40 + 2))").output == "41\\n"

def test_oops_in_write(guest, write_faulty):
    write_faulty("oops")

def test_starts_clean_after_an_oops(guest):
    assert guest.read_text("/proc/modules") == ""
    assert guest.read_text("/proc/sys/kernel/tainted") == "0\\n"

def test_warns_and_fails_by_itself(guest, write_faulty):
    write_faulty("warn")
    assert 1 == 2

@pytest.mark.expect_splat("WARNING")
def test_expected_warning_comes(guest, write_faulty):
    write_faulty("warn")

@pytest.mark.expect_splat("WARNING")
def test_expected_warning_does_not_come(guest):
    pass

@pytest.mark.expect_splat("WARNING")
def test_another_splat_than_expected(guest, write_faulty):
    with pytest.raises(ProcessKilled):
        write_faulty("bug")

@pytest.mark.expect_splat("OOPS")
def test_expected_oops_kills_the_writer(guest, write_faulty):
    write_faulty("oops")

def test_oops_in_exit_at_clean_up(guest, faulty_ko):
    guest.load(faulty_ko, fault="oops", when="exit")

@pytest.fixture
def faulty(guest, faulty_ko):
    with guest.load(faulty_ko, fault="oops", when="exit") as module:
        yield module

def test_oops_in_exit_by_a_fixture(faulty):
    assert faulty.is_loaded

def test_comes_after_it(guest):
    assert guest.run(["true"]).status == 0

def test_panics(guest, faulty_ko):
    guest.load(faulty_ko, fault="panic")

@pytest.mark.expect_splat("PANIC")
def test_expected_panic(guest, faulty_ko):
    with pytest.raises(KernelPanic):
        guest.load(faulty_ko, fault="panic")

def test_hangs(guest, faulty):
    "the fixture's teardown must not wait for it either"
    guest.load(faulty.file.path.parent.parent / "other" / "hang.ko", fault="hang")

def test_qemu_is_killed(guest, faulty):
    os.kill(guest.machine.pid, signal.SIGKILL)
    guest.run(["true"])

def test_two_guests_and_the_other_one_warns(guest, machine, faulty_ko):
    with machine.guest() as other:
        other.load(faulty_ko, fault="warn")
        assert guest.read_text("/proc/modules") == ""

@pytest.mark.xfail(reason="a known bug")
def test_known_to_warn(guest, write_faulty):
    write_faulty("warn")

def test_skips_itself(guest):
    pytest.skip("nothing to do")

def test_uses_no_guest():
    assert True
"""
