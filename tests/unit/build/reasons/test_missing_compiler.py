"""Headers of another suite's kernel name a compiler that this suite may lack."""

from __future__ import annotations

import pytest

from kmod_harness.build.reasons.missing_compiler import missing_compiler


@pytest.mark.parametrize(
    "line",
    [
        "/bin/sh: 1: x86_64-linux-gnu-gcc-14: not found",
        "/bin/sh: line 1: x86_64-linux-gnu-gcc-14: command not found",
    ],
)
def test_the_compiler_is_named_with_the_kernel_that_needs_none_of_its_kind(line: str) -> None:
    output = f"  CC [M]  /m/main.o\n{line}\nmake[2]: *** [/m/main.o] Error 127\n"
    failure = missing_compiler(output, "minimal@6.12")
    assert failure is not None
    assert "x86_64-linux-gnu-gcc-14, which is not installed" in failure.message
    assert "kernel build minimal@6.12" in failure.advice


@pytest.mark.parametrize("line", ["/bin/sh: 1: pahole: not found", "main.c:1:1: error: gcc: not found"])
def test_another_failure_is_another_failure(line: str) -> None:
    assert missing_compiler(line, "minimal") is None
