"""Each fragment of kernel-config/ over minimal.config survives Kconfig, line by line; nothing is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.build.cache import default_cache
from kmod_harness.build.kernel import kconfig
from kmod_harness.build.kernel.from_source import configure
from kmod_harness.build.kernel.source import kernel_source
from kmod_harness.host.resources import minimal_config

MINIMAL = minimal_config()
FRAGMENTS = sorted(path for path in MINIMAL.parent.glob("*.config") if path != MINIMAL)


#: What a fragment needs beside the compiler that is always there.
NEEDS = {"clang": [pytest.mark.needs("clang")]}


@pytest.mark.parametrize(
    "fragment", [pytest.param(path, id=path.stem, marks=NEEDS.get(path.stem, ())) for path in FRAGMENTS]
)
def test_every_line_of_a_fragment_is_in_the_resulting_configuration(fragment: Path, tmp_path: Path) -> None:
    requests = [
        request
        for path in (MINIMAL, fragment)
        for request in kconfig.parse_fragment(path.read_text(), path.name)
    ]
    resolved = configure(kernel_source("", default_cache()), requests, tmp_path, tmp_path / "log")
    own = kconfig.parse_fragment(fragment.read_text(), fragment.name)
    assert [request for request in own if resolved.get(request.symbol, "n") != request.value] == []


def test_a_kernel_with_another_detector_has_another_release() -> None:
    """By it modules are told apart: one of a kernel without KASAN crashes one that has it."""
    releases = {
        request.value
        for path in (MINIMAL, *FRAGMENTS)
        for request in kconfig.parse_fragment(path.read_text(), path.name)
        if request.symbol == "LOCALVERSION"
    }
    assert len(releases) >= 7
