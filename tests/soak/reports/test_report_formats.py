"""Each format string of the report-printing functions of the kernel under test is in the list."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.klog.unnamed.printed_formats import FILE, read_formats
from shared.checkout import ROOT

pytestmark = pytest.mark.needs("vmlinux")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "harness" / "scripts" / "report_formats.py"
    spec = importlib.util.spec_from_file_location("report_formats", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_format_of_the_kernels_sources_has_a_verdict(script: ModuleType, run_kernel: Kernel) -> None:
    assert run_kernel.build_dir is not None
    tree = (run_kernel.build_dir / "source").resolve()
    known = read_formats(FILE.read_text())

    found = script.rows([tree], known)

    assert len(found) > 150
    listed = {(row.path, row.level, row.text): row.verdict for row in known}
    missing = [row for row in found if (row.path, row.level, row.text) not in listed]
    assert not missing, "\n".join(map(script.line_of, missing))
