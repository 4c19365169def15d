"""The splat finder on crash logs recorded elsewhere, where that data set is present."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest

from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats
from needs.catalogue import RECORDED_LOGS
from unit.klog.recorded_logs import read_log

pytestmark = pytest.mark.needs("recorded logs")

#: Start of the expected title -> kind; the type LOCKDEP and "WARNING" are looked at before.
KINDS = {
    "OOPS": ("general protection fault", "BUG: unable to handle", "divide error", "PANIC: double fault"),
    "RCU_STALL": ("INFO: rcu detected stall",),
    "HUNG_TASK": ("INFO: task hung", "INFO: task can't die"),
    "SOFT_LOCKUP": ("BUG: soft lockup",),
    "KASAN": ("KASAN",),
    "KMSAN": ("KMSAN",),
    "KCSAN": ("KCSAN",),
    "KFENCE": ("KFENCE",),
    "UBSAN": ("UBSAN",),
    "KMEMLEAK": ("memory leak",),
    "BUG": ("kernel BUG",),
    "PANIC": ("kernel panic",),
    "ATOMIC_SLEEP": ("BUG: sleeping function", "BUG: scheduling while atomic"),
}


def expected_kind(title: str, type_: str) -> str:
    if type_ == "LOCKDEP":
        return "LOCKDEP"
    for kind, starts in KINDS.items():
        if title.startswith(starts):
            return kind
    return "WARNING" if title.startswith("WARNING") else ""


@pytest.fixture(scope="module")
def readings() -> dict[str, tuple[dict[str, str], tuple[Splat, ...]]]:
    result = {}
    for path in sorted(RECORDED_LOGS.iterdir()):
        if path.name != "README.md":
            fields, log = read_log(path)
            result[path.name] = (fields, find_splats(parse_console(log)))
    return result


def test_a_crash_is_recognised_or_rightly_not_in_98_percent(readings) -> None:
    kernel = {n: r for n, r in readings.items() if not r[0].get("TITLE", "").startswith(("SYZ", "trusty"))}
    wrong = [n for n, (fields, splats) in kernel.items() if bool(fields.get("TITLE")) != bool(splats)]
    assert len(kernel) > 300
    assert len(wrong) <= 0.02 * len(kernel), wrong


def test_the_first_splats_kind_is_right_in_95_percent(readings) -> None:
    counted: Counter[bool] = Counter()
    wrong = []
    for name, (fields, splats) in readings.items():
        kind = expected_kind(fields.get("TITLE", ""), fields.get("TYPE", ""))
        if not kind or "CORRUPTED" in fields:
            continue
        right = bool(splats) and splats[0].kind == kind
        counted[right] += 1
        if not right:
            wrong.append((name, kind, splats[0].kind if splats else None))
    assert counted.total() > 200
    assert counted[True] >= 0.95 * counted.total(), wrong


def guilty(fields: dict[str, str]) -> str:
    """The function that the expected reading names, "" when it names none."""
    named = re.search(r" in (?:\w+ )?([\w.$]+)$", fields.get("TITLE", ""))
    return fields.get("FRAME", "") or (named[1] if named else "")


def test_the_guilty_function_is_right_in_90_percent(readings) -> None:
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for fields, splats in readings.values():
        if not guilty(fields) or "CORRUPTED" in fields:
            continue
        found = splats[0].function if splats else ""
        accepted = {guilty(fields)} | {alt.rpartition(" ")[2] for alt in fields.get("ALT", "").split("\n")}
        kind = splats[0].kind.value if splats else "not found"
        (right if found in accepted else wrong)[kind] += 1
    table = [f"{kind:16} {right[kind]:3} of {right[kind] + wrong[kind]:3}" for kind in sorted(right | wrong)]
    print("\n".join(table))
    assert right.total() + wrong.total() > 250
    assert right.total() >= 0.9 * (right.total() + wrong.total()), "\n".join(table)


def test_the_time_is_linear_in_the_logs_size() -> None:
    log = b"".join(read_log(path)[1] for path in sorted(RECORDED_LOGS.iterdir()) if path.name != "README.md")
    times = []
    for repeat in (1, 4):
        start = time.process_time()
        find_splats(parse_console(log * repeat))
        times.append(time.process_time() - start)
    assert times[1] < 4 * times[0] * 2.5
