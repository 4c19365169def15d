"""--kh-debug: a failing test's guest stands still until somebody has looked at it with gdb."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from kmod_harness.errors import KmodHarnessError
from kmod_harness.pytest_plugin.options import SETTINGS

if TYPE_CHECKING:
    from kmod_harness.pytest_plugin.state import State
    from kmod_harness.pytest_plugin.watched import WatchedGuest


def offer_gdb(item: pytest.Item, state: State) -> None:
    """Prints gdb's command line for each guest of the test and waits for Enter; deadlines wait too."""
    if not item.config.stash[SETTINGS].debug or not state.in_use:
        return
    capture = item.config.pluginmanager.getplugin("capturemanager")
    shown = capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext()
    state.clock.pause()
    try:
        with shown, contextlib.ExitStack() as attached:
            for watched in state.in_use:
                attached.enter_context(_standing_still(item, watched))
            print("Enter goes on with the tests: ", end="", flush=True)
            # its end, where nobody is there, goes on at once
            with contextlib.suppress(OSError, ValueError):
                sys.stdin.readline()
    finally:
        state.clock.resume()


@contextlib.contextmanager
def _standing_still(item: pytest.Item, watched: WatchedGuest) -> Iterator[None]:
    """A block in which gdb can connect to the guest, which runs on afterwards if it ran before."""
    from kmod_harness.debug.gdb_commands import Stops  # lazy
    from kmod_harness.debug.open_stub import open_stub  # lazy

    machine = watched.guest.machine
    try:
        ran = bool(machine.qmp("query-status")["running"])
        script = open_stub(machine, watched.kernel, watched.modules, Stops())
    except KmodHarnessError as error:
        print(f"\nkmod-harness: no gdb at this guest: {error}")
        yield
        return
    print(f"\n{item.nodeid} failed; its guest stands still. In another terminal:")
    print(f"    gdb -q -x {shlex.quote(str(script))}")
    yield
    with contextlib.suppress(KmodHarnessError):
        machine.monitor("gdbserver none")
        if ran:
            machine.qmp("cont")
