"""Modules of strangers, built by `kmod-harness modules` as they say themselves, and loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from shared.checkout import ROOT
from shared.cli_process import kmod_harness, run_json, unwrapped

SOURCES = ROOT / "tests/readme/stranger"
PATCH = """\
--- a/my.c
+++ b/my.c
@@ -1 +1,2 @@
+#define PATCHED 1
{first}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own with the sources of my.ko."""
    directory = tmp_path / "my-1.0"
    directory.mkdir()
    shutil.copy(SOURCES / "my.c", directory)
    monkeypatch.chdir(directory)
    return directory


@pytest.mark.needs("patch")
def test_what_dkms_builds_is_built_in_a_copy_and_loads(here: Path, run_kernel: Kernel) -> None:
    first = (here / "my.c").read_text().splitlines()[0]
    (here / "patches").mkdir()
    (here / "patches/one.patch").write_text(PATCH.format(first=f" {first}"))
    (here / "Kbuild").write_text("obj-m := my.o\n")
    (here / "Makefile").write_text("all:\n\t$(MAKE) -C $(KDIR) M=$(CURDIR) modules\n")
    (here / "dkms.conf").write_text(
        'PACKAGE_NAME="my"\nPACKAGE_VERSION="1.0"\nBUILT_MODULE_NAME[0]="$PACKAGE_NAME"\n'
        'BUILD_EXCLUSIVE_CONFIG="CONFIG_MODULES"\nPATCH[0]=one.patch\n'
        'MAKE[0]="make all KDIR=$kernel_source_dir"\n'
    )
    done = kmod_harness("modules", ".", "--kernel", run_kernel.name)
    assert done.returncode == 0, done.stderr
    assert unwrapped(done.stderr) == ".: dkms.conf of my 1.0, 1 patches, in a copy"
    (built,) = map(Path, done.stdout.split())
    assert not built.is_relative_to(here)
    assert (built.parent / "my.c").read_text().startswith("#define PATCHED 1\n")
    status, found = run_json("--kernel", run_kernel.name, built)
    assert (status, found["modules"][0]["name"]) == (0, "my")


def test_one_module_that_cannot_be_linked_hides_no_other(here: Path, run_kernel: Kernel) -> None:
    for name in ("first", "second"):
        (here / name).mkdir()
    shutil.copy(here / "my.c", here / "first/my.c")
    (here / "first/Makefile").write_text("obj-m := my.o\n")
    (here / "second/Makefile").write_text("obj-m := fine.o lost.o\n")
    head = '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n'
    (here / "second/fine.c").write_text(head)
    (here / "second/lost.c").write_text(
        f"{head}int no_such_function(void);\nint f(void);\nint f(void) {{ return no_such_function(); }}\n"
    )
    done = kmod_harness("modules", ".", "--kernel", run_kernel.name)
    assert done.returncode == 2
    assert done.stdout.split() == [str(here / "first/my.ko"), str(here / "second/fine.ko")]
    told = unwrapped(done.stderr)
    assert told.startswith("first: kbuild second: kbuild kmod-harness: 1 of 2 directories were not built")
    assert "lost.ko needs no_such_function, which neither this kernel" in told


def test_a_module_that_does_not_compile_is_told_by_its_line_first(here: Path, run_kernel: Kernel) -> None:
    (here / "Makefile").write_text("obj-m := my.o\n")
    (here / "my.c").write_text("#include <linux/module.h>\nint x = nosuch;\n")
    done = kmod_harness("modules", ".", "--kernel", run_kernel.name)
    assert done.returncode == 2
    assert unwrapped(done.stderr).startswith(".: kbuild kmod-harness: my.c:2:9: error: 'nosuch' undeclared")
    assert "-> the whole log: " in unwrapped(done.stderr)
