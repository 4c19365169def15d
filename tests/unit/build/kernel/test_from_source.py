"""Building from source, with a make that behaves as asked: the contract, the first error, the cache."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from kmod_harness.build.cache import Cache
from kmod_harness.build.kernel.from_source import build_kernel, built_kernel
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.known import resolve_kernel
from kmod_harness.build.modules import build_modules, build_modules_in_place
from kmod_harness.errors import BuildFailed, Misuse
from kmod_harness.host import resources
from kmod_harness.spec.spec import Spec
from unit.build.fake_programs import make_programs

#: A tree that takes kbuild's targets: Kconfig here drops KASAN and turns SWAP on; FAIL=y breaks the compile.
MAKEFILE = """\
.PHONY: tinyconfig olddefconfig bzImage modules
tinyconfig:
\t@printf 'CONFIG_64BIT=y\\nCONFIG_EMBEDDED=y\\n' >$(O)/.config
olddefconfig:
\t@sed -i -e /KASAN/d -e 's/.*CONFIG_SWAP .*/CONFIG_SWAP=y/' $(O)/.config
bzImage:
\t@echo '  CC      init/main.o'
\t@if grep -q CONFIG_FAIL=y $(O)/.config; then echo 'init/main.c:7:3: error: no such luck'; exit 1; fi
\t@echo "$(KBUILD_BUILD_TIMESTAMP)" >$(O)/timestamp
\t@mkdir -p $(O)/arch/x86/boot $(O)/include/config $(O)/scripts $(O)/init
\t@touch $(O)/arch/x86/boot/bzImage $(O)/vmlinux $(O)/Module.symvers $(O)/init/main.o $(O)/scripts/mod.o
\t@touch $(O)/vmlinux.o $(O)/init/.main.o.cmd
\t@echo 6.1.0-fake >$(O)/include/config/kernel.release
\t@printf 'obj := x\\nmodules:\\n\\t@for d in $$(M); do :; done\\n' >$(O)/Makefile
modules:
\t@echo '  AS      lib/x.o'; : >$(O)/modules.order
"""

#: A kernel build directory: makes a .ko of every .c, unless it does not compile.
MODULE_MAKEFILE = """\
modules:
\t@echo 'KCFLAGS $(KCFLAGS)'; echo run >>$(M)/../runs
\t@if grep -l broken $(M)/*.c; then echo 'x.c:1: error: broken'; exit 1; fi
\t@: >$(M)/modules.order
\t@for c in $(M)/*.c; do cp $$c $${c%.c}.ko; echo $${c%.c}.ko >>$(M)/modules.order; done
"""

pytestmark = pytest.mark.needs("gcc", "make")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel asks for is there; it is not looked for on the machine that runs the tests."""
    programs = make_programs(tmp_path / "bin", "ld", "flex", "bison", "bc")
    (programs / "gelf.h").touch()
    monkeypatch.setenv("C_INCLUDE_PATH", str(programs))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "linux"
    for directory in ("scripts/kconfig", "arch/x86", "arch/arm/kernel", "arch/um", "Documentation/a", "lib"):
        (tree / directory).mkdir(parents=True)
    for name in (
        "arch/arm/Kconfig",
        "arch/arm/kernel/x.c",
        "arch/um/x.c",
        "Documentation/a/b",
        "Documentation/Kconfig",
    ):
        (tree / name).write_text("")
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "Kconfig").write_text("config SWAP\nconfig KASAN\n")
    return tree


def fragment(tmp_path: Path, text: str, name: str = "my.config") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_a_kernel_is_built_once_and_known_afterwards(tmp_path: Path, cache: Cache, source: Path) -> None:
    fragments = [fragment(tmp_path, "CONFIG_SMP=y\n")]
    assert built_kernel(fragments, cache=cache) is None
    build_dir = build_kernel(fragments, source=source, cache=cache)
    assert (build_dir / ".config").read_text() == "CONFIG_64BIT=y\nCONFIG_EMBEDDED=y\nCONFIG_SMP=y\n"
    assert built_kernel(fragments, cache=cache) == build_dir
    (entry,) = cache.entries("kernel")
    assert entry.manifest["release"] == "6.1.0-fake"
    assert entry.manifest["objects"] == 2
    assert "CC      init/main.o" in (entry.path / "compile.log").read_text()
    stamp = (build_dir / "vmlinux").stat().st_mtime_ns
    assert build_kernel(fragments, source=source, cache=cache) == build_dir
    assert (build_dir / "vmlinux").stat().st_mtime_ns == stamp


def test_what_was_built_last_is_minimal_whatever_it_was_built_from(
    tmp_path: Path, cache: Cache, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "minimal_config", lambda: fragment(tmp_path, "CONFIG_A=y\n"))
    built = resolve_kernel(Spec(kernel="minimal"), build=True, source=source, cache=cache)
    # `make demo KERNEL_SRC=`: the demo names no source, and builds no other kernel than this one
    assert resolve_kernel(Spec(kernel="minimal"), build=True, cache=cache) == built


def test_time_user_and_host_are_not_part_of_a_kernel(tmp_path: Path, cache: Cache, source: Path) -> None:
    build_dir = build_kernel([fragment(tmp_path, "")], source=source, cache=cache)
    assert (build_dir / "timestamp").read_text() == "Thu Jan  1 00:00:00 UTC 1970\n"


def test_what_external_modules_need_stays_and_the_rest_goes(
    tmp_path: Path, cache: Cache, source: Path
) -> None:
    build_dir = build_kernel([fragment(tmp_path, "")], source=source, cache=cache)
    kept = {str(path.relative_to(build_dir)) for path in build_dir.rglob("*") if path.is_file()}
    assert {"Module.symvers", "vmlinux", "modules.order", "scripts/mod.o", "arch/x86/boot/bzImage"} <= kept
    assert not kept & {"init/main.o", "vmlinux.o", "init/.main.o.cmd"}


def test_other_fragments_or_another_source_make_another_kernel(
    tmp_path: Path, cache: Cache, source: Path
) -> None:
    one = build_kernel([fragment(tmp_path, "CONFIG_A=y\n")], source=source, cache=cache)
    two = build_kernel([fragment(tmp_path, "CONFIG_B=y\n")], source=source, cache=cache)
    (source / "lib/new.c").write_text("int x;")
    three = build_kernel([fragment(tmp_path, "CONFIG_B=y\n")], source=source, cache=cache)
    assert len({one, two, three}) == 3
    assert built_kernel([fragment(tmp_path, "CONFIG_B=y\n")], cache=cache) == three


def test_clang_is_told_to_kbuild_and_its_version_is_part_of_the_key(
    tmp_path: Path, cache: Cache, source: Path
) -> None:
    mine = fragment(tmp_path, "CONFIG_CC_IS_CLANG=y\nCONFIG_LD_IS_LLD=y\n")
    keys = set()
    for version in ("14.0.6", "16.0.6"):
        make_programs(tmp_path / "bin", "clang", "ld.lld", "llvm-ar", does=f"echo clang version {version}")
        build_dir = build_kernel([mine], source=source, cache=cache)
        assert "LLVM=1" in (build_dir.parent / "compile.log").read_text()
        keys.add(build_dir)
    assert len(keys) == 2
    assert {str(entry.manifest["compiler"]) for entry in cache.entries("kernel")} == {
        "clang version 14.0.6",
        "clang version 16.0.6",
    }


def test_every_symbol_that_fell_out_is_listed(tmp_path: Path, cache: Cache, source: Path) -> None:
    base = fragment(tmp_path, "CONFIG_SMP=y\n# CONFIG_SWAP is not set\n", "base.config")
    mine = fragment(tmp_path, "CONFIG_KASAN=y\nCONFIG_KASAN_TYPO=y\n", "mine.config")
    with pytest.raises(BuildFailed, match="3 of 5 requested symbols") as failure:
        build_kernel([base, mine], source=source, cache=cache)
    assert failure.value.evidence.splitlines() == [
        f"{base}:2: asked for # CONFIG_SWAP is not set, but it came out as y",
        f"{mine}:1: asked for CONFIG_KASAN=y, but it is not set",
        f"{mine}:2: asked for CONFIG_KASAN_TYPO=y, but it is not set (this kernel has no such symbol)",
    ]
    assert cache.entries("kernel") == ()


def test_a_failed_compile_shows_the_first_error_and_keeps_the_log(
    tmp_path: Path, cache: Cache, source: Path
) -> None:
    with pytest.raises(BuildFailed, match="compiling the kernel failed") as failure:
        build_kernel([fragment(tmp_path, "CONFIG_FAIL=y\n")], source=source, cache=cache)
    assert "init/main.c:7:3: error: no such luck" in failure.value.evidence
    log = Path(failure.value.advice.removeprefix("the whole log: "))
    assert "CC      init/main.o" in log.read_text()
    assert cache.entries("kernel") == ()


def test_the_users_tree_is_never_written_to(tmp_path: Path, cache: Cache, source: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    build_kernel([fragment(tmp_path, "")], source=source, cache=cache)
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before


def test_a_tree_built_in_place_is_refused_with_the_command(
    tmp_path: Path, cache: Cache, source: Path
) -> None:
    (source / ".config").write_text("")
    with pytest.raises(Misuse, match="was built in place") as failure:
        build_kernel([fragment(tmp_path, "")], source=source, cache=cache)
    assert failure.value.advice.endswith(f"make -C {source} ARCH=x86_64 mrproper")


def test_a_tarball_is_unpacked_once_without_what_no_x86_build_reads(
    tmp_path: Path, cache: Cache, source: Path
) -> None:
    with tarfile.open(tmp_path / "linux.tar.gz", "w:gz") as archive:
        archive.add(source, "linux-6.1")
    build_kernel([fragment(tmp_path, "CONFIG_A=y\n")], source=tmp_path / "linux.tar.gz", cache=cache)
    build_kernel([fragment(tmp_path, "CONFIG_B=y\n")], source=tmp_path / "linux.tar.gz", cache=cache)
    (entry,) = cache.entries("source")
    tree = entry.path / "linux"
    found = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert {"Makefile", "arch/arm/Kconfig", "arch/um/x.c", "Documentation/Kconfig"} <= found
    assert not found & {"arch/arm/kernel/x.c", "Documentation/a/b"}
    assert all(kernel.needs == (entry.name,) for kernel in cache.entries("kernel"))


@pytest.mark.parametrize("what", ["missing", "empty directory", "text file", "other tarball"])
def test_what_is_no_kernel_source_is_refused(tmp_path: Path, cache: Cache, what: str) -> None:
    given = tmp_path / "given"
    if what == "empty directory":
        given.mkdir()
    elif what == "text file":
        given.write_text("no tarball")
    elif what == "other tarball":
        with tarfile.open(given, "w") as archive:
            archive.add(fragment(tmp_path, ""), "other/my.config")
    with pytest.raises(Misuse) as failure:
        build_kernel([fragment(tmp_path, "")], source=given, cache=cache)
    assert str(given) in failure.value.message
    assert cache.entries() == ()


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    build_dir = tmp_path / "kernel"
    build_dir.mkdir()
    (build_dir / "Makefile").write_text(MODULE_MAKEFILE)
    (build_dir / "Module.symvers").write_text("")
    return Kernel("fake", "6.1.0", build_dir / "bzImage", build_dir=build_dir)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "Makefile").write_text("obj-m := hello.o\n")
    (directory / "hello.c").write_text("/* hello */")
    return directory


def runs(out: Path) -> int:
    file = out.parent / "runs"
    return len(file.read_text().split()) if file.exists() else 0


def test_a_module_is_built_in_its_own_place_and_only_once(
    tmp_path: Path, kernel: Kernel, module: Path
) -> None:
    out = tmp_path / "build/modules/mine"
    assert build_modules(module, kernel, out) == (out / "hello.ko",)
    assert build_modules(module, kernel, out) == (out / "hello.ko",)
    assert runs(out) == 1
    assert sorted(path.name for path in module.iterdir()) == ["Makefile", "hello.c"]
    assert "KCFLAGS -Werror" in (out / "build.log").read_text()


def test_a_kernel_of_clang_has_its_modules_compiled_by_clang(
    tmp_path: Path, kernel: Kernel, module: Path
) -> None:
    assert kernel.build_dir is not None
    (kernel.build_dir / ".config").write_text("CONFIG_CC_IS_CLANG=y\nCONFIG_LD_IS_LLD=y\n")
    make_programs(tmp_path / "bin", "clang", "ld.lld", "llvm-ar")
    out = tmp_path / "build/modules/mine"
    build_modules(module, kernel, out)
    assert " LLVM=1 " in (out / "build.log").read_text().splitlines()[0]


def test_a_changed_source_or_kernel_is_built_again(tmp_path: Path, kernel: Kernel, module: Path) -> None:
    out = tmp_path / "build/modules/mine"
    build_modules(module, kernel, out)
    (module / "hello.c").write_text("/* other */")
    (built,) = build_modules(module, kernel, out)
    assert built.read_text() == "/* other */"
    assert kernel.build_dir is not None
    (kernel.build_dir / "Module.symvers").write_text("changed")
    build_modules(module, kernel, out)
    assert runs(out) == 3


def test_a_source_that_is_gone_leaves_no_module(tmp_path: Path, kernel: Kernel, module: Path) -> None:
    out = tmp_path / "build/modules/mine"
    (module / "second.c").write_text("")
    assert len(build_modules(module, kernel, out)) == 2
    (module / "second.c").unlink()
    assert build_modules(module, kernel, out) == (out / "hello.ko",)
    assert not (out / "second.ko").exists()


def test_a_module_that_does_not_compile_shows_its_first_error(
    tmp_path: Path, kernel: Kernel, module: Path
) -> None:
    (module / "hello.c").write_text("broken")
    out = tmp_path / "build/modules/mine"
    for _ in range(2):
        with pytest.raises(BuildFailed) as failure:
            build_modules(module, kernel, out)
        assert failure.value.message == "x.c:1: error: broken"
        assert str(out / "build.log") in failure.value.advice
    (module / "hello.c").write_text("fine")
    assert build_modules(module, kernel, out) == (out / "hello.ko",)


def test_somebody_elses_directory_is_never_emptied(tmp_path: Path, kernel: Kernel, module: Path) -> None:
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis").write_text("")
    with pytest.raises(Misuse, match="precious holds files"):
        build_modules(module, kernel, out)
    assert (out / "thesis").exists()


def test_a_kernel_whose_source_is_gone_says_so(tmp_path: Path, kernel: Kernel, module: Path) -> None:
    assert kernel.build_dir is not None
    (kernel.build_dir / "source").symlink_to(tmp_path / "removed")
    with pytest.raises(Misuse, match=r"source .* is gone") as failure:
        build_modules(module, kernel, tmp_path / "out")
    assert failure.value.evidence == str(tmp_path / "removed")


def test_a_users_module_is_built_where_it_is(
    tmp_path: Path, cache: Cache, kernel: Kernel, module: Path
) -> None:
    built = build_modules_in_place(module, kernel, tmp_path / "log", cache=cache)
    assert built == (module / "hello.ko",)


def test_a_directory_without_a_makefile_is_refused(tmp_path: Path, kernel: Kernel) -> None:
    with pytest.raises(Misuse, match=r"no Makefile, Kbuild or dkms\.conf"):
        build_modules_in_place(tmp_path, kernel, tmp_path / "log")
    with pytest.raises(Misuse, match="there is no directory"):
        build_modules_in_place(tmp_path / "nosuch", kernel, tmp_path / "log")


def test_a_kernel_without_a_build_directory_builds_no_modules(tmp_path: Path, module: Path) -> None:
    with pytest.raises(Misuse, match="without a build directory"):
        build_modules(module, Kernel("path", "6.1.0", tmp_path / "bzImage"), tmp_path / "out")
