"""One run, from the request to the kernel's last word: boot, push, load, command, unload, judge."""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.checks.unloading import device_nodes
from kmod_harness.cli.run.guests_command import note_command_end, run_command
from kmod_harness.cli.run.left_behind import judge_leftovers, watch_leftovers
from kmod_harness.cli.run.modules import (
    load_all,
    names_that_must_go,
    plan_modules,
    refuse_mismatches,
    refuse_unknown_parameters,
    unload_all,
)
from kmod_harness.cli.run.pushed import DIRECTORY, Push, bytes_below, check_program, resolve_command
from kmod_harness.cli.run.record import RunRecord
from kmod_harness.cli.run.request import RunRequest
from kmod_harness.errors import GuestHang, KmodHarnessError, MachineFailure, Misuse, QemuDied
from kmod_harness.guest.agent.protocol import Kind, ProtocolError
from kmod_harness.guest.files.no_room import raise_if_no_room
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.kernel_log import records_of
from kmod_harness.host.exceptions import as_harness_error, is_guests_answer
from kmod_harness.klog.expected.allowance import are_excused
from kmod_harness.klog.expected.expectation import kinds_of, report_of
from kmod_harness.lifecycle.counters_from_outside import counters_of_the_silent
from kmod_harness.lifecycle.oops_trap import KINDS_OF_OOPS, set_oops_trap
from kmod_harness.lifecycle.prepare import Prepared, prepare, start_machine
from kmod_harness.machine.machine import Machine
from kmod_harness.report.columns import wrapped

if TYPE_CHECKING:
    from kmod_harness.cli.run.speculative_restore import SpeculativeRestore
    from kmod_harness.klog.records import KernelRecord
    from kmod_harness.machine.gdb.trap import Trap

#: Seconds a guest may take for a sign of life after something overran its time.
SIGN_OF_LIFE = 1.0


def run(
    request: RunRequest,
    record: RunRecord,
    say: Callable[[str], None],
    speculative: SpeculativeRestore | None = None,
) -> None:
    """Does what the request asks and fills the record; what went wrong is in `record.errors`.

    `speculative` may hold the guest already.

    Raises nothing but what ends the harness itself (KeyboardInterrupt, Terminated).
    """
    record.command = request.command
    try:
        with record.stage("prepare"):
            record.prepared = prepare(request.spec, module=request.given.first_module)
            record.modules += plan_modules(request, record.prepared)
            refuse_unknown_parameters(record.modules, say, force=request.force)
            command, pushes = _plan(request, record.prepared)
            if not request.force:
                refuse_mismatches(record.modules, record.prepared, say)
        _say_what_runs(record.prepared, say)
        _boot_and_drive(request, record, command, pushes, say, speculative)
    except KmodHarnessError as error:
        record.errors.append(error)
        if isinstance(error, MachineFailure) and not record.records:
            _read_log(record, records_of(error.console))


def _plan(request: RunRequest, prepared: Prepared) -> tuple[list[str], tuple[Push, ...]]:
    """Returns the guest's argv and all that is pushed, the program looked at. Raises Misuse."""
    if not request.command:
        return [], request.pushes
    paths: Mapping[str, str] = prepared.guest_paths()
    known = {**paths, **{push.target: "" for push in request.pushes}} if paths else paths
    command, program = resolve_command(request.command, known)
    if program is None:
        return command, request.pushes
    check_program(program.source, paths, request.pushes)
    return command, (*request.pushes, program)


def _say_what_runs(prepared: Prepared, say: Callable[[str], None]) -> None:
    kernel = prepared.kernel
    name = "" if kernel.name == str(kernel.build_dir) else f" ({kernel.name})"
    accelerator = prepared.accelerator
    what = f"kernel {kernel.release}{name}, {accelerator.name}: {accelerator.reason}"
    say("\n".join(wrapped(what, further="    ")))


def _boot_and_drive(
    request: RunRequest,
    record: RunRecord,
    command: list[str],
    pushes: tuple[Push, ...],
    say: Callable[[str], None],
    speculative: SpeculativeRestore | None,
) -> None:
    assert record.prepared is not None
    with record.stage("boot"):
        guest = None if request.cold else _restored(record.prepared, request.boot_timeout, say, speculative)
        machine = guest.machine if guest else start_machine(record.prepared)
    with machine:
        record.qemu_argv = machine.argv
        machine.calls_prolonged_by = "--timeout"
        machine.before_kill = lambda: _question_hung(machine, request, record)
        try:
            with record.stage("boot"):
                prepared = record.prepared
                guest = guest or Guest(
                    machine,
                    own_modules=lambda: prepared.own_modules,
                    boot_timeout=request.boot_timeout,
                )
                record.guest = guest
                # one of a template has the slide of its template
                record.slide = guest._known_slide
                if record.slide is None:
                    from kmod_harness.checks.system_map import read_slide  # lazy

                    record.slide = read_slide(guest, record.prepared.kernel)
                trap = _set_trap(machine, request, record)
            _drive(guest, request, record, command, pushes, say, trap)
        except (KmodHarnessError, ProtocolError) as error:
            record.errors.append(error)
        except OSError as error:
            if not is_guests_answer(error):
                raise
            record.errors.append(as_harness_error(error))
        finally:
            if record.errors or request.dump:
                from kmod_harness.cli.run.evidence import question  # lazy

                question(machine, request, record)
            _keep_log(machine, guest, record)


def _question_hung(machine: Machine, request: RunRequest, record: RunRecord) -> bool:
    from kmod_harness.cli.run.evidence import question_hung  # lazy

    question_hung(machine, request, record)
    return True


def _set_trap(machine: Machine, request: RunRequest, record: RunRecord) -> Trap | None:
    """Has the guest's state kept where its kernel oopses, unless that is expected; it is under way then."""
    assert record.prepared is not None
    kept = record.kept

    def keep(directory: Path) -> None:
        kept.guest_directory = directory

    if not request.keeps_bundle or record.slide is None or kinds_of(request.expected) & KINDS_OF_OOPS:
        return None
    return set_oops_trap(machine, record.prepared.kernel, record.slide, keep)


def _restored(
    prepared: Prepared,
    boot_timeout: float | None,
    say: Callable[[str], None],
    speculative: SpeculativeRestore | None,
) -> Guest | None:
    """Returns a guest from the machine's template, None when a cold boot has to do."""
    from kmod_harness.lifecycle.saved_guest import SavedGuestUnusable  # lazy

    try:
        # a limit of the user's counts from QEMU's start, which would lie behind us here
        guest = _taken(prepared, speculative) if speculative is not None and boot_timeout is None else None
        if guest is None:
            from kmod_harness.lifecycle.standby import restored_guest  # lazy

            guest = restored_guest(prepared, boot_timeout)
        return guest
    except SavedGuestUnusable as reason:
        say("\n".join(wrapped(f"note: booting cold, since {reason}", further="      ")))
        return None


def _taken(prepared: Prepared, speculative: SpeculativeRestore) -> Guest | None:
    """Returns the guest that was restored early when it is the right one, else ends it."""
    from kmod_harness.lifecycle.boot_template import template_of  # lazy

    try:
        template = template_of(prepared)
        speculative.remember(prepared, template)
        return speculative.take(prepared, template)
    finally:
        speculative.close()


def _drive(
    guest: Guest,
    request: RunRequest,
    record: RunRecord,
    command: list[str],
    pushes: tuple[Push, ...],
    say: Callable[[str], None],
    trap: Trap | None,
) -> None:
    with record.stage("push"):
        if not guest.was_restored:
            guest.make_directories(DIRECTORY)
        for push in pushes:
            _push(guest, push, say)
    record.pushed = [push.source for push in pushes]
    before = device_nodes(guest)
    # while the guest works, and nothing here does; when it answers, the interpreter is had at once
    sys.setswitchinterval(0.0002)
    threading.Thread(target=_import_run_verdict, name="import-run-verdict", daemon=True).start()
    if trap is not None:
        trap.await_set()
    watch = watch_leftovers(guest, request, record)
    ready = _attempt(record, lambda: load_all(guest, request, record, say), "load")
    appeared = sorted(device_nodes(guest) - before) if ready else []
    if ready and command:
        ready = _attempt(record, lambda: run_command(guest, request, record, command), "command")
    if not ready and not _answers(guest, record):
        return
    unloaded = _attempt(record, lambda: unload_all(guest, request, record, say), "unload")
    if unloaded and ready:
        names = list(names_that_must_go(record.modules))
        nodes = appeared if len(names) == len(record.modules) else []
        _attempt(record, lambda: judge_leftovers(watch, guest, record, names, nodes, say), "judge")
        if names and not _has_misbehaved(guest, request, record):
            _attempt(record, guest.scan_kmemleak, "judge")
    if unloaded and request.settle:
        unloaded = _attempt(record, lambda: guest.machine.settle(request.settle), "judge")
    if unloaded or _answers(guest, record):
        # its own process: one that hangs in an unload must not hold up the log
        _attempt(record, lambda: guest.kernel_log.complete(guest.process()), "judge")


def _has_misbehaved(guest: Guest, request: RunRequest, record: RunRecord) -> bool:
    """True when the kernel has reported what nobody excused: what leaks then may be for that reason."""
    splats = guest.kernel_log.splats_since(guest.kernel_log.restore_mark)
    return not all(are_excused([report_of(splat) for splat in splats], request.expected, record.allowed))


def _attempt(record: RunRecord, act: Callable[[], object], stage: str) -> bool:
    """Returns False, the error kept, when the act failed and the guest may still be there."""
    try:
        with record.stage(stage):
            act()
    except (QemuDied, OSError, ValueError):
        raise
    except MachineFailure as error:
        record.errors.append(error)
        if isinstance(error, GuestHang) and record.guest is not None:
            record.guest.machine.before_kill()
        return False
    return True


def _push(guest: Guest, push: Push, say: Callable[[str], None]) -> None:
    try:
        for path in guest.push(push.source, push.target):
            note = f"note: --push leaves out {path}: neither a file, a directory nor a link"
            say("\n".join(wrapped(note, further="      ")))
    except OSError as error:
        raise_if_no_room(error, str(push.source), bytes_below(push.source), guest.spec.memory_mib)
        raise Misuse(
            f"could not copy {push.source} to {push.target} in the guest: {error.strerror}"
        ) from None


def _import_run_verdict() -> None:
    """Imports what a kernel log is judged with, whose patterns take 20 ms to compile."""
    import_module("kmod_harness.klog.splats")
    import_module("kmod_harness.cli.run.run_verdict")


def _answers(guest: Guest, record: RunRecord) -> bool:
    """True when the guest's agent still answers; what ended the machine is kept as an error.

    The request is one that changes nothing: a signal 0 for a program that is not there.
    """
    deadline = guest.machine.deadline("a sign of life from the guest", SIGN_OF_LIFE, exact=True)
    try:
        guest._channel.ask(Kind.SIGNAL, struct.pack("<II", 0, 0), deadline=deadline)
    except GuestHang:
        return False
    except MachineFailure as error:
        if all(type(error) is not type(known) for known in record.errors):
            record.errors.append(error)
        return False
    return True


def _keep_log(machine: Machine, guest: Guest | None, record: RunRecord) -> None:
    if guest is None:
        record.raw_log = machine.ends.console_log.read_bytes()
        _read_log(record, records_of(record.raw_log))
    else:
        guest.kernel_log.take_in()
        record.raw_log = guest.kernel_log.raw
        if record.prepared is not None:
            guest.kernel_log.counters = counters_of_the_silent(guest, record.prepared.kernel, record.slide)
        record.lost = guest.kernel_log.lost
        incomplete = guest.kernel_log.incompleteness()
        if incomplete is not None:
            record.errors.append(incomplete)
        record.splats = guest.kernel_log.splats_since(0)
        _note_log(record, guest.kernel_log.records)


def _read_log(record: RunRecord, records: Sequence[KernelRecord]) -> None:
    """Notes the log of a guest that there never was."""
    from kmod_harness.klog.splats import find_splats  # lazy

    record.splats = find_splats(records)
    _note_log(record, records)


def _note_log(record: RunRecord, records: Sequence[KernelRecord]) -> None:
    from kmod_harness.klog.ktap import ktap_results  # lazy

    record.records = list(records)
    record.cases = ktap_results(records)
    note_command_end(record)
