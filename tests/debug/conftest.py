"""The kernels of the proofs, and the table of what was seen: printed, and in build/test/faults.{md,json}."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from debug.fault_table import KernelUnderProof, Row, markdown
from kmod_harness.build.kernel import kconfig
from kmod_harness.build.kernel.known import resolve_kernel
from kmod_harness.cli.commands.modules import sample_directory
from kmod_harness.releases.release import release_pair
from kmod_harness.spec.spec import Spec

_OUT = Path("build/test")


ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture(scope="session")
def rows(pytestconfig: pytest.Config) -> list[Row]:
    return pytestconfig.stash.setdefault(ROWS, [])


@pytest.fixture(scope="session")
def kernels(machine_spec: Spec) -> dict[str, KernelUnderProof]:
    """`plain`: the kernel of --kh-kernel, else minimal; with fragments `other` too, the same with those."""
    name = machine_spec.kernel or "minimal"
    named = replace(machine_spec, kernel=name)
    if not machine_spec.kconfig:
        return {"plain": _kernel(name, named)}
    fragments = "+".join(Path(path).stem for path in machine_spec.kconfig)
    # --kh-memory is for the kernel with the fragments
    return {"plain": _kernel(name, Spec(kernel=name)), "other": _kernel(f"{name}+{fragments}", named)}


def _kernel(name: str, spec: Spec) -> KernelUnderProof:
    kernel = resolve_kernel(Spec(kernel=spec.kernel, kconfig=spec.kconfig))
    assert kernel.config is not None
    fragments = (word for path in spec.kconfig for word in ("--kconfig", path))
    return KernelUnderProof(
        name,
        release_pair(kernel.release),
        ("--kernel", spec.kernel, *fragments, "--memory", f"{spec.memory_mib}M"),
        kconfig.parse_config(kernel.config.read_text()),
        sample_directory(kernel),
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    table = markdown(rows)
    _OUT.mkdir(parents=True, exist_ok=True)
    (_OUT / "faults.md").write_text(table)
    (_OUT / "faults.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    terminalreporter.section("faults, and what each kernel made of them")
    terminalreporter.write(table)
