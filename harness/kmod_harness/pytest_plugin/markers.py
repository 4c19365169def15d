"""The plugin's markers: registered, checked at collection, read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kmod_harness.klog.expected.expectation import Expectation

_REGISTERED = (
    "expect_splat(kind): the kernel reports `kind` (OOPS, WARNING, PANIC, ...), or the function or title "
    "in `KIND:PATTERN`, during this test; "
    "that is no failure, its absence is one. Repeat it for several kinds.",
    "allow_splat(kind, *, title, function, times, reason, link, expires): the kernel may report `kind`, or "
    "`KIND:PATTERN`, during this test, so often at most and until that day; that is no failure.",
    "leaves_behind: what modules leave in the kernel after their unload is no failure of this test.",
    "cold_boot: this test gets a freshly booted guest of its own.",
)


def register(config: pytest.Config) -> None:
    for line in _REGISTERED:
        config.addinivalue_line("markers", line)


def check(items: Iterable[pytest.Item]) -> None:
    """Raises pytest.UsageError for a marker that is written wrong, naming the test."""
    for item in items:
        for mark in item.iter_markers("expect_splat"):
            _check_kind(item, mark)
        for name in ("cold_boot", "leaves_behind"):
            if any(mark.args or mark.kwargs for mark in item.iter_markers(name)):
                raise pytest.UsageError(f"{item.nodeid}: {name} takes no argument")


def expectations(item: pytest.Item) -> tuple[Expectation, ...]:
    """What a test's `expect_splat` markers expect; they have passed `check`."""
    marks = list(item.iter_markers("expect_splat"))
    if not marks:
        return ()
    from kmod_harness.klog.expected.expectation import parse_expectation  # lazy

    return tuple(parse_expectation(str(_kind(mark))) for mark in marks)


def is_cold(item: pytest.Item) -> bool:
    return item.get_closest_marker("cold_boot") is not None


def leaves_behind(item: pytest.Item) -> bool:
    return item.get_closest_marker("leaves_behind") is not None


def group_by_spec(items: Sequence[pytest.Item]) -> None:
    """Keeps tests of one parameter of `machine_spec` on one xdist worker (`--dist loadgroup`).

    Nothing to do for a single spec: one group would put the whole suite on one worker. Without
    loadgroup pytest's own order keeps a session parameter's tests together, so that each
    worker boots each spec once. A group that a test names itself stays.
    """
    specs = {item: _spec_parameter(item) for item in items}
    if len({spec for spec in specs.values() if spec is not None}) < 2:
        return
    for item, spec in specs.items():
        if spec is not None and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(name=f"machine_spec-{spec}"))


def _spec_parameter(item: pytest.Item) -> int | None:
    """The index of the `machine_spec` parameter that a test runs with, None without parameters."""
    callspec: Any = getattr(item, "callspec", None)
    index = callspec.indices.get("machine_spec") if callspec is not None else None
    return None if index is None else int(index)


def _check_kind(item: pytest.Item, mark: pytest.Mark) -> None:
    from kmod_harness.klog.kinds import SplatKind  # lazy

    kinds = ", ".join(kind.value for kind in SplatKind)
    if len(mark.args) + len(mark.kwargs) != 1 or set(mark.kwargs) - {"kind"}:
        raise pytest.UsageError(f"{item.nodeid}: expect_splat takes one kind: {kinds}")
    if str(_kind(mark)).partition(":")[0] not in {kind.value for kind in SplatKind}:
        raise pytest.UsageError(f"{item.nodeid}: expect_splat knows no kind {_kind(mark)!r}; one of {kinds}")


def _kind(mark: pytest.Mark) -> object:
    return mark.args[0] if mark.args else mark.kwargs["kind"]
