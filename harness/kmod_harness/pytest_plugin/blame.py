"""Whose doing a report of the kernel is, when tests share a guest: by the task and the module it names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kmod_harness.klog.splats import Splat

#: Threads that do anybody's work: what they did tells nothing of who asked for it.
_ANYBODYS = re.compile(r"swapper|kworker|ksoftirqd|rcu|migration|kswapd|khungtaskd|watchdog|kthreadd|irq/")
#: The agent's (guest/agent/src/workers.c): what they do is the running test's call.
_WORKER = "harness-worker"


@dataclass
class GuestUse:
    """One test's time with a guest; first_pid: the processes it starts have this number or one above it."""

    item: pytest.Item
    first_pid: int = 0
    modules: frozenset[str] = frozenset()


def use_at_fault(splat: Splat, uses: Sequence[GuestUse]) -> GuestUse | None:
    """Returns the use that a report is of, the latest being last; None where the report does not tell.

    A task is of the test in whose time it was started, whoever's module it met. Where no task is at fault,
    the module tells: the latest test that had loaded it has left it something to do.
    """
    if "<IRQ>" in splat.text or not splat.pid or _ANYBODYS.match(splat.task):
        return _by_module(splat.modules, uses)
    if splat.task == _WORKER:
        return uses[-1] if uses else None
    return _by_pid(splat.pid, uses) or _by_module(splat.modules, uses)


def _by_pid(pid: int, uses: Sequence[GuestUse]) -> GuestUse | None:
    grows = all(one.first_pid <= next_one.first_pid for one, next_one in itertools.pairwise(uses))
    started = [use for use in uses if 0 < use.first_pid <= pid]
    # numbers are given again from the beginning on, some time
    return started[-1] if started and grows else None


def _by_module(modules: Iterable[str], uses: Sequence[GuestUse]) -> GuestUse | None:
    named = set(modules)
    return next((use for use in reversed(uses) if use.modules & named), None)
