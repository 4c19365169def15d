"""The splat finder on crash logs recorded elsewhere, where that data set is present."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats
from needs.catalogue import RECORDED_LOGS
from unit.klog.recorded_logs import accepted_functions, expected_kind, guilty, read_log

pytestmark = pytest.mark.needs("recorded logs")


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


def test_the_guilty_function_is_right_in_90_percent(readings) -> None:
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for fields, splats in readings.values():
        if not guilty(fields) or "CORRUPTED" in fields:
            continue
        found = splats[0].function if splats else ""
        kind = splats[0].kind.value if splats else "not found"
        (right if found in accepted_functions(fields) else wrong)[kind] += 1
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
