"""gdb at the guest of a failure, loaded again as it was: where it oopsed, where it panicked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from shared.cli_process import kmod_harness, unwrapped
from shared.gdb_process import gdb, waiting_guest

WRITE = ("--", "sh", "-c", "echo before > /dev/vda; sync; echo x > /dev/faulty")


pytestmark = pytest.mark.needs("gdb", "vmlinux")


def test_an_oops_in_a_write_is_looked_at_where_it_happened(faulty_ko: Path, tmp_path: Path) -> None:
    # given: a guest that has written to its disk, and whose kernel oopsed in a module's write
    disk, bundle = tmp_path / "disk.img", tmp_path / "bundle"
    disk.write_bytes(bytes(1 << 20))
    faults = ("--param", "fault=gp_fault", "--param", "when=write")
    done = kmod_harness("run", faulty_ko, *faults, "--disk", disk, "--bundle", bundle, *WRITE)
    assert done.returncode == 3, done.stderr

    # when: it is loaded again
    with waiting_guest("--from", bundle) as command:
        told = gdb(command, "bt", "frame function faulty_gp_fault", "info locals", "frame function vfs_write")

    # then: the stack from the oops through the module to the system call, with its values
    frames = ("oops_exit", "exc_general_protection", "faulty_gp_fault", "faulty_write", "vfs_write")
    places = [told.index(name) for name in (*frames, "do_syscall_64", "entry_SYSCALL_64")]
    assert places == sorted(places), told
    assert "nowhere = 0x8badf00d00000000" in told
    assert "traps.c:" in told.partition("in faulty_gp_fault ()")[2].partition("\n")[0]
    # and: what it had written is kept, the user's file is not touched
    assert (bundle / "disk-0-0.qcow2").is_file() and disk.read_bytes() == bytes(1 << 20)

    # and: its memory is read from the same state, though no dump was asked for
    crash = kmod_harness("crash", bundle)
    assert "faulty_gp_fault" in crash.stdout.partition("Stack of sh")[2], crash.stderr

    # when: the disk is another one since then
    disk.write_bytes(b"changed" + bytes((1 << 20) - 7))
    refused = kmod_harness("debug", "--from", bundle)
    assert refused.returncode == 2 and "disk was changed" in unwrapped(refused.stderr)


def test_a_panicked_guest_is_looked_at_in_its_panic(faulty_ko: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert kmod_harness("run", faulty_ko, "--param", "fault=panic", "--bundle", bundle).returncode == 4

    with waiting_guest("--from", bundle) as command:
        told = gdb(command, "bt", "frame function faulty_init", "p in_init", "info symbol faulty_panic")

    places = [
        told.index(name) for name in (" panic (", "in faulty_panic", "in faulty_init", "do_one_initcall")
    ]
    assert places == sorted(places), told
    assert "= true" in told and "faulty_panic in section .text" in told

    # when: the state is cut, its kernel is gone, it could not be kept, it is not there
    state, about = bundle / "state.zst", bundle / "state.json"
    whole, known = state.read_bytes(), json.loads(about.read_text())
    state.write_bytes(whole[: len(whole) // 2])
    cut = kmod_harness("debug", "--from", bundle)
    about.write_text(json.dumps({**known, "kernel": {**known["kernel"], "vmlinux": "/gone/vmlinux"}}))
    gone = kmod_harness("debug", "--from", bundle)
    about.write_text(json.dumps({"obstacle": "QEMU may not save the device edu"}))
    not_kept = kmod_harness("debug", "--from", bundle)
    about.unlink()
    shutil.rmtree(bundle / "modules")
    none = kmod_harness("debug", "--from", bundle)
    nowhere = kmod_harness("debug", "--from", tmp_path)

    # then: each is told in one message
    assert {done.returncode for done in (cut, gone, not_kept, none, nowhere)} == {2}
    told = [unwrapped(done.stderr) for done in (cut, gone, not_kept, none, nowhere)]
    assert "the kept state does not load" in told[0] and "reproduce.sh" in told[0]
    assert "is missing: /gone/vmlinux" in told[1]
    assert "could not be kept: QEMU may not save the device edu" in told[2]
    assert "holds no state of its guest" in told[3] and "--dump" in told[3]
    assert "is not a bundle" in told[4]


def test_what_does_not_go_with_a_kept_guest_is_refused(chardev_ko: Path, tmp_path: Path) -> None:
    done = kmod_harness("debug", chardev_ko, "--from", tmp_path)
    assert done.returncode == 2 and "has loaded and run everything already" in unwrapped(done.stderr)
