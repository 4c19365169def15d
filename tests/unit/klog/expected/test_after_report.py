"""An expected report may be the last thing that its detector looked for."""

from __future__ import annotations

import pytest

from kmod_harness.klog.expected.after_report import not_looked_for
from kmod_harness.klog.kinds import SplatKind


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ([], []),
        ([SplatKind.WARNING, SplatKind.UBSAN], []),
        ([SplatKind.LOCKDEP, SplatKind.LOCKDEP], ["lockdep"]),
        ([SplatKind.KASAN, SplatKind.LOCKDEP], ["lockdep", "KASAN"]),
    ],
)
def test_a_detector_that_reports_once_is_named_once(kinds: list[SplatKind], words: list[str]) -> None:
    assert [line.split()[0] for line in not_looked_for(kinds)] == words
