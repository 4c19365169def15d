"""Modules built in each way by a real make, for a kernel whose Makefile only pretends to compile."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.build.cache import Cache
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.modules import build_modules, build_modules_in_place
from kmod_harness.errors import BuildFailed, NotForThisKernel

#: Makes a .ko of each .c of the directory M, with its text and what make was told; lists them as kbuild does.
MAKEFILE = """\
modules:
\t@: >$(M)/modules.order; for c in $(M)/*.c; do \\
\t  if grep -q broken $$c; then echo "$$c:3:1: error: broken"; exit 1; fi; \\
\t  echo $${c%.c}.ko >>$(M)/modules.order; echo "$$(cat $$c) MINE=$(MINE) PWD=$(PWD)" >$${c%.c}.ko; done; \\
\t  echo export >$(M)/Module.symvers; \\
\t  [ -z "$(KBUILD_EXTRA_SYMBOLS)" ] || cat $(KBUILD_EXTRA_SYMBOLS) >$(M)/seen
\t@if [ -z "$(KBUILD_MODPOST_WARN)" ] && grep -q misses $(M)/*.c; then \\
\t  echo 'ERROR: modpost: "nosuch" ['$$(grep -l misses $(M)/*.c | sed s/c$$/ko/)'] undefined!'; exit 1; fi
clean:
\t@rm -f $(M)/*.ko
"""

#: Compiles as kbuild does: all of a module's parts, which NAME.mod lists; links what it is asked for.
PARTS_MAKEFILE = """\
modules:
\t@: >$(M)/modules.order; for c in $(M)/*.c; do o=$${c%.c}.o; echo $$o $(PARTS) >$${c%.c}.mod; \\
\t  if grep -q broken $$c; then echo "$$c:3:1: error: broken"; \\
\t    echo "make[1]: *** [scripts/Makefile.build:250: $$o] Error 1"; \\
\t    $(if $(findstring k,$(firstword -$(MAKEFLAGS))),continue,exit 2); fi; : >$$o; done; exit 2
%.ko:
\t@cp $(M)/$*.c $(M)/$@; echo $(M)/$@ >>$(M)/modules.order
"""

DKMS = "PACKAGE_NAME=p\nPACKAGE_VERSION=1\n"

pytestmark = pytest.mark.needs("make")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    build_dir = tmp_path / "kernel"
    build_dir.mkdir()
    (build_dir / "Makefile").write_text(MAKEFILE)
    (build_dir / ".config").write_text("CONFIG_NET=y\n")
    return Kernel("fake", "6.1.0-fake", build_dir / "bzImage", build_dir=build_dir)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    directory = tmp_path / "p-1"
    directory.mkdir()
    return directory


class Builder:
    def __init__(self, directory: Path, kernel: Kernel, cache: Cache) -> None:
        self.directory, self._kernel, self._cache = directory, kernel, cache
        self.said: list[str] = []

    def __call__(self, files: dict[str, str], *settings: str) -> list[Path]:
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        log = self.directory.parent / "log"
        return list(
            build_modules_in_place(
                self.directory, self._kernel, log, settings=settings, say=self.said.append, cache=self._cache
            )
        )


@pytest.fixture
def build(here: Path, kernel: Kernel, cache: Cache) -> Builder:
    return Builder(here, kernel, cache)


def test_the_way_is_said_in_one_line(build: Builder) -> None:
    build({"Makefile": "obj-m := a.o\n", "a.c": ""})
    assert build.said == [f"{build.directory}: kbuild"]


def test_make_is_told_the_users_variables_and_runs_as_in_the_directory(build: Builder) -> None:
    (ko,) = build({"Makefile": "obj-m := a.o\n", "a.c": "a"}, "MINE=x y")
    assert ko.read_text() == f"a MINE=x y PWD={build.directory}\n"


def test_dkms_conf_is_built_where_it_lies_by_its_own_command(build: Builder) -> None:
    conf = DKMS + 'MAKE="make KDIR=$kernel_source_dir V=$kernelver"\nBUILT_MODULE_NAME[0]=a\n'
    makefile = "all:\n\t@echo $(V) $(KERNELRELEASE) >told; $(MAKE) -C $(KDIR) M=$(CURDIR) modules\n"
    assert build({"dkms.conf": conf, "Makefile": makefile, "a.c": "a"}, "MINE=1 2") == [
        build.directory / "a.ko"
    ]
    assert (build.directory / "told").read_text() == "6.1.0-fake 6.1.0-fake\n"
    assert "MINE=1 2" in (build.directory / "a.ko").read_text()


def test_a_makefile_below_dkms_conf_that_asks_for_installed_headers_gets_ours(build: Builder) -> None:
    conf = DKMS + 'MAKE="make KVER=$kernelver"\nBUILT_MODULE_NAME[0]=a\n'
    makefile = "KDIR := /lib/modules/$(KVER)/build\nall:\n\t$(MAKE) -C $(KDIR) M=$(CURDIR) modules\n"
    assert build({"dkms.conf": conf, "Makefile": makefile, "a.c": ""}) == [build.directory / "a.ko"]


@pytest.mark.needs("patch")
def test_patches_and_pre_build_change_a_copy_alone(build: Builder, cache: Cache) -> None:
    conf = DKMS + 'PATCH[0]=one.patch\nPRE_BUILD="prepare.sh $kernelver"\nBUILT_MODULE_NAME[0]=a\n'
    files = {
        "dkms.conf": conf,
        "Makefile": "obj-m := a.o\n",
        "a.c": "old\n",
        "patches/one.patch": "--- x/a.c\n+++ x/a.c\n@@ -1 +1 @@\n-old\n+new\n",
        "prepare.sh": "#!/bin/sh\necho $1 >prepared\n",
    }
    (ko,) = build(files)
    assert ko.is_relative_to(cache.root)
    assert ko.read_text().startswith("new ")
    assert (ko.parent / "prepared").read_text() == "6.1.0-fake\n"
    assert sorted(path.name for path in build.directory.iterdir()) == sorted(
        {name.split("/")[0] for name in files}
    )
    assert build(files) == [ko], "what is built already is used"


def test_the_log_and_the_error_of_a_copy_name_the_sources(build: Builder) -> None:
    with pytest.raises(BuildFailed) as failure:
        build({"dkms.conf": DKMS + "PRE_BUILD=true.sh\n", "true.sh": "#!/bin/sh\n", "p.c": "broken"})
    assert failure.value.message == f"{build.directory}/p.c:3:1: error: broken"


def test_a_module_that_dkms_conf_names_and_make_does_not_build_is_told(build: Builder) -> None:
    conf = DKMS + "BUILT_MODULE_NAME[0]=a\nBUILT_MODULE_NAME[1]=b\nBUILT_MODULE_LOCATION[1]=src\n"
    with pytest.raises(BuildFailed, match=r"was built, but not src/b\.ko, which its dkms\.conf names"):
        build({"dkms.conf": conf, "a.c": ""})


def test_a_kernel_that_is_none_of_its_is_told_before_anything_is_built(build: Builder) -> None:
    conf = DKMS + 'BUILD_EXCLUSIVE_CONFIG="CONFIG_USB"\n'
    with pytest.raises(NotForThisKernel, match="p 1 is not for this kernel") as failure:
        build({"dkms.conf": conf, "p.c": "broken"})
    assert "CONFIG_USB is not set" in failure.value.evidence


def test_an_own_makefile_is_given_the_kernel(build: Builder) -> None:
    makefile = """
MYDIR ?= /lib/modules/$(shell uname -r)/build
first:
\tfalse
all: header
\t$(MAKE) -C $(MYDIR) M=$(CURDIR)/src modules
header:
\ttouch made
"""
    assert build({"Makefile": makefile, "src/a.c": ""}) == [build.directory / "src/a.ko"]
    assert (build.directory / "made").exists()


def test_several_directories_are_each_reported_and_one_failure_hides_no_other(build: Builder) -> None:
    files = {f"{name}/Makefile": f"obj-m := {name}.o\n" for name in "abc"}
    with pytest.raises(BuildFailed) as failure:
        build({**files, "a/a.c": "", "b/b.c": "broken", "c/c.c": ""})
    assert build.said == [f"{build.directory}/{name}: kbuild" for name in "abc"]
    assert failure.value.built == (build.directory / "a/a.ko", build.directory / "c/c.ko")
    assert failure.value.message == "1 of 3 directories were not built"
    assert f"{build.directory}/b/b.c:3:1: error: broken" in failure.value.evidence


def test_a_module_that_misses_a_symbol_hides_none_beside_it(build: Builder) -> None:
    with pytest.raises(BuildFailed, match=r"b\.ko needs nosuch, which neither this kernel") as failure:
        build({"Makefile": "obj-m := a.o b.o c.o\n", "a.c": "", "b.c": "misses", "c.c": ""})
    assert failure.value.built == (build.directory / "a.ko", build.directory / "c.ko")
    assert not (build.directory / "b.ko").exists()


def test_a_module_that_does_not_compile_hides_none_beside_it(build: Builder, kernel: Kernel) -> None:
    assert kernel.build_dir is not None
    (kernel.build_dir / "Makefile").write_text(PARTS_MAKEFILE)
    with pytest.raises(BuildFailed, match=r"b\.c:3:1: error: broken") as failure:
        build({"Makefile": "obj-m := a.o b.o c.o\n", "a.c": "", "b.c": "broken", "c.c": ""})
    assert failure.value.built == (build.directory / "a.ko", build.directory / "c.ko")


def test_a_module_with_a_part_that_does_not_compile_is_not_built(build: Builder, kernel: Kernel) -> None:
    assert kernel.build_dir is not None
    (kernel.build_dir / "Makefile").write_text(PARTS_MAKEFILE)
    with pytest.raises(BuildFailed) as failure:
        build({"Makefile": "obj-m := a.o b.o\n", "a.c": "", "b.c": "broken"}, "PARTS=b.o")
    assert failure.value.built == ()


def test_the_option_that_a_configure_script_missed_is_named(
    build: Builder, kernel: Kernel, cache: Cache
) -> None:
    """OpenAFS 1.8: what it then compiles for kernels without CONFIG_KEYS does not compile."""
    assert kernel.build_dir is not None
    source = kernel.build_dir / "source"
    (source / "drivers").mkdir(parents=True)
    (source / "drivers/Makefile").touch()
    (source / "Kconfig").write_text('config KEYS\n\tbool "K"\nconfig NET\n\tbool "N"\n')
    trial = 'printf "conftest.c:7:2: error: #error rebuild your kernel with CONFIG_KEYS\\n" >config.log'
    conf = DKMS + 'MAKE="(./configure && false)"\nBUILT_MODULE_NAME[0]=a\n'
    with pytest.raises(BuildFailed) as failure:
        build({"dkms.conf": conf, "Makefile": "obj-m := a.o\n", "configure": f"#!/bin/sh\n{trial}\n"})
    assert "CONFIG_KEYS=y" in failure.value.advice


def test_what_one_directory_exports_the_next_may_use(build: Builder) -> None:
    build({"a/Makefile": "obj-m := a.o\n", "a/a.c": "", "b/Makefile": "obj-m := b.o\n", "b/b.c": ""})
    assert (build.directory / "b/seen").read_text() == "export\n"
    assert not (build.directory / "a/seen").exists()


def test_out_builds_a_copy_in_the_same_way(
    build: Builder, here: Path, kernel: Kernel, tmp_path: Path
) -> None:
    (here / "dkms.conf").write_text(DKMS + "BUILT_MODULE_NAME[0]=a\n")
    (here / "a.c").write_text("a")
    out = tmp_path / "out"
    assert build_modules(here, kernel, out) == (out / "a.ko",)
    assert sorted(path.name for path in here.iterdir()) == ["a.c", "dkms.conf"]
