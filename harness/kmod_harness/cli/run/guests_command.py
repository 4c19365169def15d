"""The command of a run: started in the guest, its input and output passed on, its end noted."""

from __future__ import annotations

import os
import sys

from kmod_harness.cli.run.pushed import DIRECTORY
from kmod_harness.cli.run.record import RunRecord
from kmod_harness.cli.run.request import RunRequest
from kmod_harness.errors import GuestHang, Misuse
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.jobs import run as run_program
from kmod_harness.guest.programs.feed import PATH, Feed, has_input


def run_command(guest: Guest, request: RunRequest, record: RunRecord, command: list[str]) -> None:
    """Runs the command to its end: `record.completed`. Raises GuestHang, Misuse, and what ends the guest."""
    record.log_before_command = guest.kernel_log.mark()
    if record.live_output is not None:
        record.live_output.clock = guest.machine.clock
    feed = Feed(guest.process(), sys.stdin.fileno()) if has_input(sys.stdin.fileno()) else None
    try:
        record.completed = run_program(
            guest.machine,
            guest._channel,
            command,
            timeout=request.timeout,
            directory=DIRECTORY,
            input_path=PATH if feed else "",
            receiver=record.live_output,
            source=feed,
        )
    except GuestHang as hang:
        record.overdue = hang
        raise
    except OSError as error:
        raise Misuse(
            f"the guest cannot execute {command[0]}: {os.strerror(error.errno or 0)}",
            advice="a word with a slash, such as ./test.sh, is pushed from here",
        ) from None
    finally:
        if feed is not None and not guest.machine.watch.has_ended:
            feed.close()


def note_command_end(record: RunRecord) -> None:
    """Notes how the command ended, once the whole log is there."""
    done = record.completed
    if done is not None and done.status != 0:
        from kmod_harness.cli.run.command_end import command_end  # lazy: most commands succeed

        since = record.records[record.log_before_command :]
        record.command_end = command_end(done.status, done.pid, since)
