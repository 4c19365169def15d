"""Runs inside gdb: selects the CPU of the failure, in a guest that was kept as it failed.

It is the CPU whose stack goes through an oops or a panic, else one that is not idle.
"""

from __future__ import annotations

import contextlib

import gdb

#: Number of innermost frames searched: more than a panic's notifiers and an oops's own functions add.
DEPTH = 12
FAILING = {"oops_exit", "panic"}
IDLE = {"default_idle_call", "cpu_startup_entry"}


def functions(thread):
    """Returns the names of a CPU's innermost functions."""
    thread.switch()
    names, frame = set(), gdb.newest_frame()
    with contextlib.suppress(gdb.error):
        while frame is not None and len(names) < DEPTH:
            names.add(frame.name())
            frame = frame.older()
    return names


def rank(thread):
    names = functions(thread)
    return (not names & FAILING, bool(names & IDLE), thread.num)


min(gdb.selected_inferior().threads(), key=rank).switch()
