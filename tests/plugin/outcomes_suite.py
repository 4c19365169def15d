"""A stranger's suite in which each test meets another end; test_plugin_outcomes.py reads what comes of it."""

from __future__ import annotations

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
def chardev(guest, chardev_ko):
    with guest.load(chardev_ko) as module:
        yield module

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
from kmod_harness.errors import KernelPanic
from kmod_harness.errors import ProcessKilled

@pytest.mark.allow_splat("WARNING:faulty_warn", times=1, reason="known", expires="2999-01-01")
def test_allowed_warning_comes(write_faulty):
    write_faulty("warn")

@pytest.mark.allow_splat("WARNING:faulty_warn", times=1)
def test_allowed_warning_comes_too_often(guest, faulty_ko):
    guest.load(faulty_ko, fault="warn").unload()
    guest.load(faulty_ko, fault="warn").unload()

@pytest.mark.allow_splat("WARNING", expires="2020-01-01")
def test_warning_is_allowed_no_more(write_faulty):
    write_faulty("warn")

@pytest.mark.allow_splat("OOPS:faulty_oops")
@pytest.mark.allow_splat("KASAN")
def test_allowed_oops_kills_the_writer(write_faulty):
    write_faulty("oops")

def test_passes(guest, chardev):
    with guest.open("/dev/chardev0", os.O_RDWR) as device:
        assert device.write(b"hello") == 5

def test_fails(guest):
    assert guest.shell.run("echo $((40 + 2))").output == "41\\n"

def test_oops_in_write(guest, write_faulty):
    write_faulty("oops")

def test_after_an_oops(guest):
    assert not guest.exists("/sys/module/faulty")
    assert guest.read_text("/proc/sys/kernel/tainted") == "0\\n"

def test_warns_and_fails_by_itself(write_faulty):
    write_faulty("warn")
    assert 1 == 2

@pytest.mark.expect_splat("WARNING")
def test_expected_warning_comes(write_faulty):
    write_faulty("warn")

@pytest.mark.expect_splat("WARNING")
def test_expected_warning_stays_away(guest):
    pass

@pytest.mark.expect_splat("WARNING")
def test_another_splat_than_expected(write_faulty):
    with pytest.raises(ProcessKilled):
        write_faulty("bug")

@pytest.mark.expect_splat("WARNING:faulty_warn")
def test_expected_warning_of_a_function_comes(write_faulty):
    write_faulty("warn")

@pytest.mark.expect_splat("WARNING:faulty_other")
def test_warning_of_another_function_than_expected(write_faulty):
    write_faulty("warn")

@pytest.mark.expect_splat("OOPS")
def test_expected_oops_kills_the_writer(write_faulty):
    write_faulty("oops")

@pytest.mark.expect_splat("OOPS")
@pytest.mark.expect_splat("WARNING")
def test_one_of_two_expected_stays_away(write_faulty):
    write_faulty("oops")

def test_oops_in_exit_at_clean_up(guest, faulty_ko):
    guest.load(faulty_ko, fault="oops", when="exit")

@pytest.fixture
def faulty_at_exit(guest, faulty_ko):
    with guest.load(faulty_ko, fault="warn", when="exit") as module:
        yield module

def test_warning_in_exit_by_a_fixture(faulty_at_exit):
    assert faulty_at_exit.is_loaded

def test_after_a_warning_in_exit(guest):
    assert guest.run(["true"]).status == 0

def test_panics(guest, chardev, faulty_ko):
    guest.load(faulty_ko, fault="panic")

@pytest.mark.expect_splat("PANIC")
def test_expected_panic(guest, faulty_ko):
    with pytest.raises(KernelPanic):
        guest.load(faulty_ko, fault="panic")

def test_hangs(chardev, write_faulty):
    write_faulty("hang")

def test_asks_for_its_guest_and_sleeps_too_long(request, faulty_ko):
    guest = request.getfixturevalue("guest")
    guest.load(faulty_ko, fault="block")

def test_asks_for_its_guest(request):
    assert request.getfixturevalue("guest").run(["true"]).status == 0

def test_qemu_is_killed(guest, chardev):
    os.kill(guest.machine.pid, signal.SIGKILL)
    guest.run(["true"])

def test_the_other_guest_warns(guest, machine, faulty_ko):
    with machine.guest() as other:
        other.load(faulty_ko, fault="warn")
        assert not guest.exists("/sys/module/faulty")

@pytest.mark.xfail(reason="a known bug")
def test_known_to_warn(write_faulty):
    write_faulty("warn")

def test_asks_for_what_is_not_there(guest):
    guest.read_text("/nowhere")

def test_gives_what_no_call_takes(guest):
    guest.read_text("nul\\0")

def test_raises_its_own_error(guest):
    try:
        guest.read_text("/nowhere")
    except OSError as error:
        raise LookupError("no such thing") from error

def test_skips_itself(guest):
    pytest.skip("nothing to do")

def test_loads_what_is_no_module(guest):
    guest.load(__file__)

def test_leaves_a_module_in_use(guest, chardev_ko):
    guest.load(chardev_ko)
    assert guest.shell.run("exec 3</dev/chardev0").status == 0

def test_after_that_it_is_gone(guest):
    assert not guest.exists("/sys/module/chardev")

@pytest.mark.expect_splat("OOPS")
def test_expects_without_a_guest():
    pass

def test_taints_and_no_log_tells_of_it(guest):
    guest.write_file("/proc/sys/kernel/tainted", b"32")

def test_uses_no_guest():
    assert True

def test_a_kunit_case_fails(guest):
    with guest.open("/dev/kmsg", os.O_WRONLY) as log:
        for line in (b"KTAP version 1", b"1..2", b"ok 1 adds", b"# divides: EXPECTATION FAILED",
                     b"not ok 2 divides"):
            log.write(line)
"""
