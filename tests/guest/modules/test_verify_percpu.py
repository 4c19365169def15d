"""A per-CPU variable that one module exports and another uses has a known place in each CPU's area."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from shared.cli_process import kmod_harness

HEAD = '#include <linux/module.h>\n#include <linux/percpu.h>\nMODULE_LICENSE("GPL");\n'
OWNER = HEAD + "DEFINE_PER_CPU(int, owner_count);\nEXPORT_PER_CPU_SYMBOL_GPL(owner_count);\n"
USER = (
    HEAD
    + """\
DECLARE_PER_CPU(int, owner_count);
static int __init user_init(void)
{
	this_cpu_inc(owner_count);
	return 0;
}
module_init(user_init);
static void __exit user_exit(void)
{
	this_cpu_dec(owner_count);
}
module_exit(user_exit);
"""
)


def test_both_modules_are_explained_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_kernel: Kernel
) -> None:
    (tmp_path / "owner.c").write_text(OWNER)
    (tmp_path / "user.c").write_text(USER)
    (tmp_path / "Makefile").write_text("obj-m := owner.o user.o\n")
    monkeypatch.chdir(tmp_path)
    built = kmod_harness("modules", ".", "--kernel", run_kernel.name)
    assert built.returncode == 0, built.stderr
    done = kmod_harness("verify", "--json", "--kernel", run_kernel.name, "owner.ko", "user.ko")
    found = json.loads(done.stdout)
    assert found["not_verified"] == []
    assert (done.returncode, found["totals"]["unexplained"]) == (0, 0), done.stderr
