"""`kmod-harness run` for real: what it reports, and an exit status for each way a run can end."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from shared.cli_process import kmod_harness, run_json, unwrapped

BOOT_KEYS = ("prepare", "boot", "push", "load", "command", "unload", "judge", "total")


def test_a_run_is_one_json_object(chardev_ko: Path) -> None:
    command = "echo out; echo err >&2; echo -n hello >/dev/chardev1; cat /dev/chardev1; pwd; exit 3"
    status, found = run_json(chardev_ko, "--param", "minors=2", "--cpus", "2", "--", "sh", "-c", command)

    assert (status, found["version"], found["outcome"]) == (1, 1, "failed")
    assert found["command"] == {
        "argv": ["sh", "-c", command],
        "status": 3,
        "how": "exit status 3",
        "signal": None,
        "killed_by": None,
        "stdout": "out\nhello/kmod-harness/pushed\n",
        "stderr": "err\n",
    }
    assert all(found["timings"][key] >= 0 for key in BOOT_KEYS)
    (module,) = found["modules"]
    assert (module["name"], module["path"]) == ("chardev", str(chardev_ko))
    # E besides: a kernel that looks for signatures
    assert (module["loaded"], module["unloaded"], module["taint"][0]) == (True, True, "O")
    address = int(module["address"], 16)
    assert 0xFFFFFFFFC0000000 <= address < 0xFFFFFFFFFF000000
    assert address <= int(module["sections"][".text"], 16) < address + module["size"]
    # null where no System.map tells: Debian's kernel
    assert int(found["kernel"]["slide"] or "0", 16) % 0x200000 == 0
    assert found["kernel"]["release"] in module["vermagic"]
    assert found["accelerator"]["name"] in ("tcg", "kvm")
    assert found["accelerator"]["reason"]
    assert found["splats"] == found["errors"] == []
    assert "-smp" in found["qemu"]["argv"]
    loaded = [record for record in found["kernel_log"] if "chardev: loaded: major" in record["text"]]
    assert len(loaded) == 1
    assert loaded[0]["level"] == 6
    assert loaded[0]["timestamp"] > 0


def test_modules_are_loaded_in_the_order_of_their_dependencies(
    chardev_ko: Path, chardev_stats_ko: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("from the host")
    script = tmp_path / "test.sh"
    script.write_text("#!/bin/sh\ngrep -c '^chardev' /proc/modules; ls /dev/chardev*; cat data /opt/copy\n")
    script.chmod(0o755)
    done = kmod_harness(
        *("run", chardev_stats_ko, chardev_ko, "--param", "minors=2"),
        *("--push", tmp_path / "data", "--push", f"{tmp_path / 'data'}:/opt/copy", "--", script),
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n/dev/chardev0\n/dev/chardev1\nfrom the hostfrom the host"
    assert done.stderr.index("loaded chardev at") < done.stderr.index("loaded chardev_stats at")
    assert done.stderr.splitlines()[-1].startswith(
        "kmod-harness: passed: 2 modules loaded, command: exit status 0"
    )


@pytest.mark.parametrize(
    ("fault", "status", "outcome", "title"),
    [
        ("oops", 3, "splat", "NULL pointer dereference in faulty_oops"),
        ("warn", 3, "splat", "WARNING in faulty_warn"),
        ("panic", 4, "panic", "kernel panic: faulty: a panic was asked for"),
    ],
)
def test_what_the_kernel_reports_is_the_outcome(
    faulty_ko: Path, fault: str, status: int, outcome: str, title: str
) -> None:
    found_status, found = run_json(faulty_ko, "--param", f"fault={fault}")
    assert (found_status, found["outcome"], found["reason"]) == (status, outcome, title)
    assert title in [splat["title"] for splat in found["splats"]]
    assert found["modules"][0]["loaded"] is (fault == "warn")


def test_what_the_kernel_logs_only_after_a_panic_is_read(faulty_ko: Path) -> None:
    """A stack overflow is a double fault: 6.12 writes its report out when it has panicked."""
    overflow = ("--param", "fault=stack_overflow", "--param", "when=write")
    status, found = run_json(faulty_ko, *overflow, "--", "sh", "-c", "echo >/dev/faulty")
    assert (status, found["outcome"]) == (4, "panic")
    assert [splat["kind"] for splat in found["splats"]] == ["OOPS", "PANIC"]
    assert "faulty_descend" in found["splats"][0]["text"]


def test_a_panicked_guest_that_does_not_reset_has_ended_all_the_same(faulty_ko: Path) -> None:
    status, found = run_json(faulty_ko, "--param", "fault=panic", "--append", "panic=0")
    assert (status, found["outcome"]) == (4, "panic")


def test_an_expected_oops_passes_though_it_kills_the_command(faulty_ko: Path) -> None:
    status, found = run_json(
        *(faulty_ko, "--param", "fault=oops", "--param", "when=write", "--expect-splat", "oops"),
        *("--", "sh", "-c", "echo >/dev/faulty"),
    )
    assert (status, found["outcome"], found["command"]["status"]) == (0, "passed", -9)
    assert [(splat["kind"], splat["expected"]) for splat in found["splats"]] == [("OOPS", True)]
    assert found["modules"][0]["unloaded"] is True


def test_an_expected_splat_that_stays_away_is_a_failure_and_so_is_a_failing_init(faulty_ko: Path) -> None:
    arguments = ("--param", "fault=init_error", "--param", f"errno={errno.ENODEV}", "--expect-splat", "BUG")
    status, found = run_json(faulty_ko, *arguments)
    assert (status, found["outcome"]) == (1, "failed")
    assert found["reason"] == "the expected BUG did not come"
    assert found["error"]["type"] == "ModuleLoadError"
    assert found["error"]["errno"] == errno.ENODEV


def test_a_warning_that_no_console_carried_is_a_splat(faulty_ko: Path) -> None:
    muted = (
        "echo N > /sys/class/tty/ttyS0/console; echo x > /dev/faulty; echo Y > /sys/class/tty/ttyS0/console"
    )
    status, found = run_json(
        *(faulty_ko, "--param", "fault=warn", "--param", "when=write"), *("--", "sh", "-c", muted)
    )
    assert (status, found["outcome"]) == (3, "splat")
    assert [(splat["kind"], splat["function"]) for splat in found["splats"]] == [("WARNING", "faulty_warn")]


def test_a_kernel_that_says_it_met_trouble_passes_nothing_though_no_report_was_read() -> None:
    status, found = run_json("--", "sh", "-c", "echo 32 > /proc/sys/kernel/tainted")
    assert (status, found["outcome"]) == (9, "log-incomplete")
    assert found["reason"] == "the kernel found a bad page or object (taint flag B); no report of it was read"
    assert "tainted: 32" in found["error"]["evidence"]


@pytest.mark.needs("vmlinux")
def test_a_guest_that_does_not_tell_its_taint_is_read_from_outside() -> None:
    hidden = "cd /proc/sys/kernel; echo 32 > tainted; mount --bind /dev/null tainted"
    status, found = run_json("--", "sh", "-c", hidden)
    assert (status, found["outcome"]) == (9, "log-incomplete")
    assert found["reason"] == "the kernel found a bad page or object (taint flag B); no report of it was read"


def test_a_flag_that_somebody_set_is_no_trouble_where_the_kernel_counted_none() -> None:
    status, found = run_json("--", "sh", "-c", "echo 512 > /proc/sys/kernel/tainted")
    assert (status, found["outcome"]) == (0, "passed")


@pytest.mark.parametrize("command", ["rm /dev/kmsg", "umount -l /dev"])
def test_a_guest_that_lost_its_log_failed(chardev_ko: Path, command: str) -> None:
    status, found = run_json(chardev_ko, "--", "sh", "-c", command)
    assert (status, found["outcome"]) == (1, "failed")
    assert "kernel log cannot be reached any more" in found["reason"]


def test_a_guest_whose_files_are_gone_failed_and_left_its_evidence(chardev_ko: Path) -> None:
    status, found = run_json(chardev_ko, "--", "umount", "-l", "/proc")
    assert (status, found["outcome"]) == (1, "failed")
    assert "the guest's answer" in found["reason"]
    assert found["bundle"] is not None


def test_records_that_printk_dropped_pass_nothing_and_are_counted() -> None:
    status, found = run_json("--", "sh", "-c", "echo '** 17 printk messages dropped **' > /dev/console")
    assert (status, found["outcome"]) == (9, "log-incomplete")
    assert (found["kernel_log_lost"], found["kernel_log_dropped"]) == (17, 17)
    assert found["reason"].startswith("17 records of the kernel log lost")


def test_an_init_that_never_returns_is_a_hang(faulty_ko: Path) -> None:
    status, found = run_json(faulty_ko, "--param", "fault=hang", "--timeout", "1")
    assert (status, found["outcome"]) == (5, "hang")
    assert found["reason"] == "finit_module in the guest took longer than 1 s"
    assert any("faulty: hang in init" in record["text"] for record in found["kernel_log"])
    assert found["timings"]["unload"] is None


def test_after_a_command_that_overran_its_time_the_module_is_still_unloaded(chardev_ko: Path) -> None:
    status, found = run_json(chardev_ko, "--timeout", "1", "--", "sleep", "100")
    assert (status, found["outcome"]) == (5, "hang")
    assert found["reason"] == "sleep 100 took longer than 1 s"
    assert found["error"]["advice"] == "if it may take that long, give it more: --timeout"


def test_a_command_that_overran_its_time_is_asked_before_it_is_killed(chardev_ko: Path) -> None:
    _, found = run_json(chardev_ko, "--timeout", "1", "--", "sh", "-c", "sleep 77 & while :; do :; done")
    told = found["interrogation"]
    assert "(sh) runs" in told
    asleep = told[told.index("(sleep) sleeps in clock_nanosleep") :]
    assert "hrtimer_nanosleep+" in asleep.partition("process ")[0]
    assert re.search(r"Comm: (sh|sleep) ", told.partition("NMI backtrace")[2])
    assert found["modules"][0]["unloaded"] is True


def test_a_skipped_command_tested_nothing_and_bisect_skips_the_commit() -> None:
    status, found = run_json("--bisect", "--", "sh", "-c", "exit 4")
    assert (status, found["outcome"]) == (125, "nothing-tested")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--append", "rdinit=/nonexistent"), "panicked before it was ready"),
        # a shell that waits for a console nobody types at; long enough for a busy machine to boot at all
        (("--append", "rdinit=/bin/sh", "--boot-timeout", "8"), "was not ready within 8 s"),
    ],
)
def test_a_guest_that_never_gets_ready_is_a_failed_boot(options: tuple[str, ...], reason: str) -> None:
    status, found = run_json(*options, "--", "true")
    assert (status, found["outcome"]) == (6, "boot-failed")
    assert reason in found["reason"]
    assert found["error"]["evidence"]
    assert any(record["text"].startswith("Linux version") for record in found["kernel_log"])


@pytest.fixture(scope="module")
def foreign_ko(chardev_ko: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """chardev.ko with another release of the same length in its vermagic, and another flag.

    A kernel with MODVERSIONS compares the flags alone (kernel/module/version.c, same_magic).
    """
    data = chardev_ko.read_bytes().replace(b" mod_unload ", b" mod_unlaod ")
    at = data.index(b"vermagic=") + len(b"vermagic=")
    path = tmp_path_factory.mktemp("foreign") / "chardev.ko"
    path.write_bytes(data[:at] + b"9" + data[at + 1 :])
    return path


def test_a_module_for_another_kernel_is_refused_before_the_boot(foreign_ko: Path, run_kernel: Kernel) -> None:
    status, found = run_json("--kernel", run_kernel.name, foreign_ko)
    assert (status, found["outcome"], found["timings"]["boot"]) == (2, "setup-error", None)
    evidence: Any = found["error"]["evidence"]
    assert "'9." in evidence
    assert f"'{found['kernel']['release']} " in evidence
    assert f"make -C $(kmod-harness kernel dir {run_kernel.name}) M=$PWD" in found["error"]["advice"]


def test_force_shows_the_kernels_own_answer(foreign_ko: Path, run_kernel: Kernel) -> None:
    status, found = run_json("--kernel", run_kernel.name, foreign_ko, "--force")
    assert (status, found["outcome"]) == (1, "failed")
    assert found["error"]["errno"] == errno.ENOEXEC
    assert "version magic '9." in found["error"]["evidence"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rootfs", "/nonexistent"), "there is no root file system /nonexistent"),
        (("--rootfs", "/etc/passwd"), "/etc/passwd is not a root file system"),
        (("--device", "nonexistent"), "QEMU refused its command line"),
        (("--param", "minor=1"), "chardev has no parameter minor; it has: buffer_size, minors"),
    ],
)
def test_what_cannot_be_booted_or_given_is_a_set_up_error(
    chardev_ko: Path, options: tuple[str, str], said: str
) -> None:
    status, found = run_json(chardev_ko, *options)
    assert (status, found["outcome"]) == (2, "setup-error")
    assert said in found["error"]["message"]


def test_a_script_without_its_interpreter_is_refused_before_the_boot(tmp_path: Path) -> None:
    script = tmp_path / "test.sh"
    script.write_text("#!/bin/bash\n")
    script.chmod(0o755)
    status, found = run_json("--", script)
    assert (status, found["timings"]["boot"]) == (2, None)
    assert "lacks: /bin/bash" in found["error"]["message"]


@pytest.mark.parametrize(
    ("statuses", "command", "status", "outcome"),
    [("77,32", "exit 32", 8, "nothing-tested"), ("77", "exit 4", 1, "failed"), ("", "exit 4", 1, "failed")],
)
def test_which_statuses_mean_skipped_is_said_by_an_option(
    statuses: str, command: str, status: int, outcome: str
) -> None:
    found = run_json("--skip-status", statuses, "--", "sh", "-c", command)
    assert (found[0], found[1]["outcome"]) == (status, outcome)


def test_a_command_that_a_signal_killed_names_it() -> None:
    status, found = run_json("--", "sh", "-c", "kill -TERM $$")
    assert (status, found["reason"]) == (1, "the command was killed by SIGTERM")
    assert (found["command"]["signal"], found["command"]["killed_by"]) == ("SIGTERM", None)


def test_who_holds_a_module_that_cannot_be_unloaded_is_named(chardev_ko: Path) -> None:
    left_behind = "sleep 100 </dev/chardev0 >/dev/null 2>&1 & exit 0"
    status, found = run_json(chardev_ko, "--", "sh", "-c", left_behind)
    assert (status, found["outcome"]) == (1, "failed")
    assert "(sleep) has /dev/chardev0 open" in found["error"]["evidence"]


def test_a_program_that_is_about_to_end_is_waited_for(chardev_ko: Path) -> None:
    left_behind = "sleep 0.4 </dev/chardev0 >/dev/null 2>&1 & exit 0"
    status, found = run_json(chardev_ko, "--", "sh", "-c", left_behind)
    assert (status, found["modules"][0]["unloaded"]) == (0, True)


def test_a_report_that_is_allowed_fails_nothing_and_is_told_with_its_reason(faulty_ko: Path) -> None:
    allow = "WARNING:faulty_warn; times=1; reason=known; expires=2999-01-01"
    options = ("--param", "fault=warn", "--allow-splat", allow, "--allow-splat", "KASAN")
    status, found = run_json(faulty_ko, *options)
    assert (status, found["outcome"]) == (0, "passed")
    assert [splat["allowed_by"] for splat in found["splats"]] == [allow]
    assert [(one["kind"], one["matched"]) for one in found["allowances"]] == [("WARNING", 1), ("KASAN", 0)]


def test_an_allowance_whose_last_day_has_passed_excuses_nothing(faulty_ko: Path) -> None:
    options = ("--param", "fault=warn", "--no-bundle", "--allow-splat", "WARNING; expires=2020-01-01")
    run = kmod_harness("run", faulty_ko, *options)
    assert run.returncode == 3
    assert "allowed no more, since its last day has passed: WARNING" in unwrapped(run.stderr)
