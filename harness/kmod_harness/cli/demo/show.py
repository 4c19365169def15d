"""The demo itself: every step printed with its evidence, every check counted."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.checks.callers import check_init_caller, check_open_caller
from kmod_harness.checks.device import check_device_node
from kmod_harness.checks.loading import check_loaded
from kmod_harness.checks.messages import LEVELS, ExpectedMessage, check_messages, check_no_splat
from kmod_harness.checks.module_symbols import check_module_symbols, module_range
from kmod_harness.checks.round_trip import check_round_trip
from kmod_harness.checks.system_map import check_kernel_symbols
from kmod_harness.checks.unloading import check_unloaded
from kmod_harness.cli.demo.address_map import address_map
from kmod_harness.errors import CheckFailed, KmodHarnessError
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.loaded_module import LoadedModule
from kmod_harness.klog.outcome import outcome_of_error, worst
from kmod_harness.klog.records import ConsoleParser
from kmod_harness.kmod.layout.predict import predict_layout
from kmod_harness.kmod.symbols.symbol_files import Kallsyms
from kmod_harness.lifecycle.prepare import Prepared, start_machine
from kmod_harness.machine.console import ConsoleLog
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.machine import Machine
from kmod_harness.report.colour import is_coloured
from kmod_harness.verify.verify_modules import kernel_options

T = TypeVar("T")
_DEVICE = "/dev/chardev0"
_TEXT = b"hello from user space"


class DemoReport:
    """Prints what happens and counts the checks that held and those that did not."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.held = 0
        self.failed: list[KmodHarnessError] = []
        self._bold, self._plain = ("\x1b[1m", "\x1b[0m") if is_coloured(sys.stdout) else ("", "")

    def heading(self, text: str) -> None:
        print(f"\n{self._bold}{text}{self._plain}", flush=True)

    def line(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def check(self, claim: str, look: Callable[[], T], evidence: Callable[[T], str]) -> None:
        """Prints the claim with its evidence, or how it failed; the demo goes on."""
        try:
            seen = look()
        except CheckFailed as error:
            self.failed.append(error)
            self.line(f"[FAILED] {claim}")
            for part in str(error).splitlines():
                self.line(f"         {part}")
            return
        self.held += 1
        self.line(f"[ok] {claim}")
        for part in filter(None, evidence(seen).splitlines()):
            self.line(f"     {part}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def show(prepared: Prepared, chardev: Path, *, boot_timeout: float | None = None) -> int:
    """Runs the demo and returns the exit status; the last line is one to quote."""
    report = DemoReport()
    try:
        _tell(report, prepared, chardev, boot_timeout)
    except KmodHarnessError as error:
        report.line(str(error))
        report.failed.append(error)
    if report.failed:
        outcome = worst(outcome_of_error(error) for error in report.failed)
        reason = next(error.message for error in report.failed if outcome_of_error(error) is outcome)
        print(f"\ndemo: {outcome}: {reason} ({report.held} checks held, {report.seconds:.1f} s)")
        return int(outcome.exit_status)
    print(
        f"\ndemo: passed: Linux {prepared.kernel.release} booted under {prepared.accelerator.name}, "
        f"chardev.ko loaded, used and unloaded; {report.held} checks held, {report.seconds:.1f} s"
    )
    return 0


def _tell(report: DemoReport, prepared: Prepared, chardev: Path, boot_timeout: float | None) -> None:
    kernel = prepared.kernel
    report.heading("Accelerator")
    report.line(f"{prepared.accelerator.name}: {prepared.accelerator.reason}")
    report.heading("Boot")
    report.line(f"kernel {kernel.release} ({kernel.bzimage.stat().st_size / 1e6:.1f} MB bzImage)")
    report.line(str(kernel.bzimage))
    with start_machine(prepared) as machine:
        limit = machine.deadline(
            "the boot", boot_timeout or machine.boot_limit.seconds, exact=boot_timeout is not None
        )
        for event in boot_events(machine, limit):
            report.line(event)
        guest = Guest(machine, boot_timeout=boot_timeout)
        report.line(f"{guest.boot_seconds:7.3f} s            the agent's first word: the guest is ready")
        _use(report, guest, prepared, chardev)


def boot_events(machine: Machine, deadline: Deadline) -> list[str]:
    """Returns the boot's milestones, each with seconds since QEMU's start and the kernel's own time.

    Watches the console's file beside the guest's own log. Ends when the harness's init starts,
    or the guest does not get there: that is reported by whoever waits for the agent.
    """
    events = ["  0.000 s            QEMU started"]
    log = ConsoleLog(machine.ends.console_log)
    parser = ConsoleParser()
    seen = 0
    try:
        while True:
            machine.watch.wait([log.fileno()], deadline)
            now = time.monotonic() - machine.started
            for record in parser.feed(log.read_new()):
                seen += 1
                stamp = f"[{record.timestamp or 0.0:9.6f}]"
                if seen == 1:
                    events.append(f"{now:7.3f} s {stamp} the kernel's first line: {record.text[:38]}...")
                if record.text.startswith("Run ") and record.text.endswith(" as init process"):
                    events.append(f"{now:7.3f} s {stamp} the kernel starts init ({seen} lines logged)")
                    return events
    except KmodHarnessError:
        return events
    finally:
        log.close()


def _use(report: DemoReport, guest: Guest, prepared: Prepared, chardev: Path) -> None:
    kernel = prepared.kernel
    mark = guest.kernel_log.mark()
    insmod, opener = guest.process(), guest.process()
    report.heading("insmod: finit_module(2), called once")
    report.line(f"{chardev} minors=2 trace_opens=1")
    module = guest.load(chardev, minors=2, trace_opens=True, process=insmod)
    report.check(
        "the module is live",
        lambda: check_loaded(guest, module),
        lambda seen: (
            f"at {seen.address:#x}, {seen.size} bytes, taint {seen.taint}, {seen.seconds * 1000:.0f} ms"
        ),
    )
    for minor in range(2):
        report.check(
            f"/dev/chardev{minor} has appeared",
            lambda minor=minor: check_device_node(  # type: ignore[misc]
                guest, f"/dev/chardev{minor}", device_class="chardev", driver="chardev"
            ),
            lambda seen: f"major {seen.major}, minor {seen.minor}, as sysfs and /proc/devices say",
        )
    kallsyms = guest.kallsyms()
    report.heading("Address map")
    _draw(report, module, kallsyms, kernel)
    report.heading("Bytes through open, write, lseek, read, close")
    with opener.open(_DEVICE):
        pass
    report.check(
        f"{_DEVICE} gives back what it took",
        lambda: check_round_trip(guest, _DEVICE, _TEXT),
        lambda seen: f"wrote {seen.written!r}\nread  {seen.read!r}, then {seen.behind!r}: the end",
    )
    _symbols(report, guest, module, prepared, kallsyms)
    _log(report, guest, mark, insmod.pid, opener.pid)
    report.heading("Unload: delete_module(2)")
    module.unload()
    report.check(
        "nothing of it is left",
        lambda: check_unloaded(guest, "chardev", ["/dev/chardev0", "/dev/chardev1"]),
        lambda seen: f"symbols, /proc/modules, /sys/module/{seen.module}, {', '.join(seen.nodes)}: all gone",
    )
    report.check(
        "the kernel reported no trouble",
        lambda: check_no_splat(guest, 0),
        lambda seen: f"{seen} lines looked at, from the first of the boot to this moment",
    )


def _draw(report: DemoReport, module: LoadedModule, kallsyms: Kallsyms, kernel: Kernel) -> None:
    blocks = kept_blocks(module, kernel)
    addresses = kallsyms.kernel_address_of
    for line in address_map(addresses, module.file, blocks, module.sections, module_range(kernel)):
        report.line(line)


def kept_blocks(module: LoadedModule, kernel: Kernel) -> dict[str, tuple[int, int]]:
    """Returns block -> first address and end, of those that stay, by sysfs and the module's layout."""
    options = kernel_options(kernel)
    layout = predict_layout(
        module.file, unload=options.unload, kallsyms=options.kallsyms, kallsyms_all=options.kallsyms_all
    )
    bases = layout.anchors(module.sections)
    return {
        block: (bases[block], bases[block] + size)
        for block, size in layout.blocks.items()
        if block in bases and not block.startswith("init")
    }


def _symbols(
    report: DemoReport, guest: Guest, module: LoadedModule, prepared: Prepared, kallsyms: Kallsyms
) -> None:
    report.heading("Symbols: /proc/kallsyms against what was built")
    report.check(
        "the module's: ELF symbols plus section addresses",
        lambda: check_module_symbols(guest, module, prepared.kernel, kallsyms=kallsyms),
        lambda seen: f"{seen.count} symbols equal, {seen.lowest:#x}-{seen.highest:#x}, in the module range",
    )
    if prepared.kernel.system_map is None:
        # nothing to compare with: said, and not counted as a check that held
        reason = check_kernel_symbols(guest, prepared.kernel, kallsyms=kallsyms).not_compared
        report.line(f"[--] the kernel's: not comparable, {reason}")
        return
    report.check(
        "the kernel's: System.map plus one KASLR slide",
        lambda: check_kernel_symbols(guest, prepared.kernel, kallsyms=kallsyms),
        lambda seen: f"{seen.equal} symbols equal, slide {seen.slide:#x}",
    )


def _log(report: DemoReport, guest: Guest, mark: int, loader: int, opener: int) -> None:
    report.heading("Kernel log")
    guest.kernel_log.sync(guest.syscaller)
    records = guest.kernel_log.since(mark)
    for record in records:
        level = LEVELS[record.level] if record.level is not None else "?"
        report.line(f"[{record.timestamp or 0.0:9.6f}] {level:>7}: {record.text}")
    expected = [ExpectedMessage(6, "^chardev: loaded: major"), ExpectedMessage(6, "^chardev: open: minor 0")]
    report.check(
        "the module's messages are there, at level info",
        lambda: check_messages(guest, mark, expected),
        lambda seen: "",
    )
    first_open = [record for record in records if "chardev: open" in record.text][:1]
    report.check(
        "its init ran in the process that called finit_module",
        lambda: check_init_caller(records, "chardev", loader),
        lambda seen: f"pid {seen.pid}",
    )
    report.check(
        "its open ran in the process that opened the device",
        lambda: check_open_caller(first_open, "chardev", opener),
        lambda seen: f"pid {seen.pid}",
    )
