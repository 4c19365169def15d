"""A repository's modules, built where they are, by kbuild or its own command, for several kernels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kmod_harness.build.cache import Cache
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.modules import build_modules_in_place
from kmod_harness.build.repository_modules import build_repository_modules
from kmod_harness.errors import BuildFailed, Misuse
from kmod_harness.repository.parse import parse_settings
from kmod_harness.repository.settings import Repository

#: A kernel build directory: compiles as kbuild does, what has no noted command or is newer than its object.
#: A .ko says which kernel it was compiled for.
MAKEFILE = """\
modules:
\t@: >$(M)/modules.order; for c in $(M)/*.c; do name=$$(basename $$c .c); \\
\t  echo $(M)/$$name.ko >>$(M)/modules.order; \\
\t  [ ! -e $(M)/.$$name.o.cmd ] || [ $$c -nt $(M)/$$name.o ] || continue; \\
\t  if grep -q broken $$c; then echo "$$c:1: error: broken"; exit 1; fi; \\
\t  echo compiled >>$(M)/../compiled; echo cmd >$(M)/.$$name.o.cmd; \\
\t  echo "$$(cat $$c) for NAME" >$(M)/$$name.o; cp $(M)/$$name.o $(M)/$$name.ko; done
"""

pytestmark = pytest.mark.needs("make")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A repository with one module."""
    directory = tmp_path / "repo"
    directory.mkdir()
    (directory / "Makefile").write_text("obj-m := hello.o\n")
    (directory / "hello.c").write_text("hello")
    return directory


def kernel_named(tmp_path: Path, name: str) -> Kernel:
    build_dir = tmp_path / name
    build_dir.mkdir()
    (build_dir / "Makefile").write_text(MAKEFILE.replace("NAME", name))
    return Kernel(name, f"6.1.0-{name}", build_dir / "bzImage", build_dir=build_dir)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return kernel_named(tmp_path, "one")


def says(directory: Path, text: str) -> Repository:
    file = directory / "kmod-harness.toml"
    return parse_settings(text.encode(), file)


def compilations(directory: Path) -> int:
    file = directory.parent / "compiled"
    return len(file.read_text().split()) if file.exists() else 0


KBUILD = '[modules]\nkbuild = ["."]\n'


def test_kbuild_builds_what_its_directory_has(here: Path, kernel: Kernel, cache: Cache) -> None:
    assert build_repository_modules(says(here, KBUILD), kernel, cache=cache) == (here / "hello.ko",)


def test_several_directories_are_built_in_their_order(here: Path, kernel: Kernel, cache: Cache) -> None:
    for name in ("b", "a"):
        (here / name).mkdir()
        (here / name / "Makefile").write_text("")
        (here / name / f"{name}.c").write_text("")
    repository = says(here, '[modules]\nkbuild = ["b", "a"]\n')
    assert build_repository_modules(repository, kernel, cache=cache) == (here / "b/b.ko", here / "a/a.ko")


def test_load_chooses_among_what_was_built(here: Path, kernel: Kernel, cache: Cache) -> None:
    (here / "second.c").write_text("")
    repository = says(here, KBUILD + 'load = ["second.ko"]\n')
    assert build_repository_modules(repository, kernel, cache=cache) == (here / "second.ko",)


def test_nothing_is_compiled_twice_for_one_kernel(here: Path, kernel: Kernel, cache: Cache) -> None:
    for _ in range(3):
        build_repository_modules(says(here, KBUILD), kernel, cache=cache)
    assert compilations(here) == 1
    later = (here / "hello.c").stat().st_mtime + 10
    os.utime(here / "hello.c", (later, later))
    build_repository_modules(says(here, KBUILD), kernel, cache=cache)
    assert compilations(here) == 2


def test_another_kernel_of_the_same_source_gets_a_module_of_its_own(
    here: Path, kernel: Kernel, cache: Cache, tmp_path: Path
) -> None:
    other = kernel_named(tmp_path, "two")
    for one in (kernel, other, kernel):
        (built,) = build_repository_modules(says(here, KBUILD), one, cache=cache)
        assert built.read_text().strip() == f"hello for {one.name}"


def test_what_somebody_built_by_hand_in_between_is_built_again(
    here: Path, kernel: Kernel, cache: Cache, tmp_path: Path
) -> None:
    other = kernel_named(tmp_path, "two")
    build_repository_modules(says(here, KBUILD), kernel, cache=cache)
    # with no memory of the first, as a make typed by hand has none
    build_modules_in_place(here, other, tmp_path / "log", cache=Cache(tmp_path / "nobody's"))
    (built,) = build_repository_modules(says(here, KBUILD), kernel, cache=cache)
    assert built.read_text().strip() == "hello for one"


def test_only_kbuilds_notes_are_removed_for_another_kernel(
    here: Path, kernel: Kernel, cache: Cache, tmp_path: Path
) -> None:
    mine = [here / "firmware.o", here / ".notes.cmd", here / ".venv/.lib.o.cmd", here / "blob.a"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    for one in (kernel, kernel_named(tmp_path, "two")):
        build_repository_modules(says(here, KBUILD), one, cache=cache)
    assert [path.read_text() for path in mine] == ["mine"] * len(mine)


def test_an_own_command_is_told_the_kernel_and_runs_beside_the_file(
    here: Path, kernel: Kernel, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCH", "arm")
    command = 'echo \\"$KERNEL_DIR $KERNEL_RELEASE $PWD ${ARCH-none}\\" > made.ko'
    repository = says(here, f'[modules]\nbuild = "{command}"\nload = ["made.ko"]\n')
    (made,) = build_repository_modules(repository, kernel, cache=cache)
    assert made.read_text() == f"{kernel.build_dir} {kernel.release} {here} none\n"


def test_files_that_somebody_else_builds_are_only_loaded(here: Path, kernel: Kernel, cache: Cache) -> None:
    (here / "ready.ko").touch()
    repository = says(here, '[modules]\nload = ["ready.ko"]\n')
    assert build_repository_modules(repository, kernel, cache=cache) == (here / "ready.ko",)
    assert compilations(here) == 0


def test_copies_are_the_ones_to_load(here: Path, kernel: Kernel, cache: Cache, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    built = build_repository_modules(says(here, KBUILD), kernel, copies=copies, cache=cache)
    assert built == (copies / "hello.ko",)
    assert built[0].read_bytes() == (here / "hello.ko").read_bytes()


def test_a_broken_source_is_told_by_its_first_error(here: Path, kernel: Kernel, cache: Cache) -> None:
    (here / "hello.c").write_text("broken")
    with pytest.raises(BuildFailed) as failure:
        build_repository_modules(says(here, KBUILD), kernel, cache=cache)
    assert f"{here}/hello.c:1: error: broken" in failure.value.evidence


def test_an_own_command_that_fails_is_told_with_its_output(here: Path, kernel: Kernel, cache: Cache) -> None:
    repository = says(here, '[modules]\nbuild = "echo so it goes; exit 3"\nload = ["a.ko"]\n')
    with pytest.raises(BuildFailed, match="ended with status 3") as failure:
        build_repository_modules(repository, kernel, cache=cache)
    assert "so it goes" in failure.value.evidence


@pytest.mark.parametrize(
    ("load", "advice"),
    [("helo.ko", "did you mean hello.ko?"), ("out/hello.ko", "did you mean hello.ko?"), ("x.ko", "")],
)
def test_a_file_to_load_that_was_not_built_is_told_with_what_was(
    here: Path, kernel: Kernel, cache: Cache, load: str, advice: str
) -> None:
    with pytest.raises(Misuse) as told:
        build_repository_modules(says(here, f'{KBUILD}load = ["{load}"]\n'), kernel, cache=cache)
    assert told.value.message == f"{here}/kmod-harness.toml: `modules.load` names {load}, which was not built"
    assert told.value.evidence == "kbuild built hello.ko"
    assert told.value.advice == advice


@pytest.mark.parametrize("text", [None, "cpus = 2\n"])
def test_a_repository_that_names_no_modules_is_told_how(
    here: Path, kernel: Kernel, cache: Cache, text: str | None
) -> None:
    repository = Repository() if text is None else says(here, text)
    with pytest.raises(Misuse, match="names no modules") as told:
        build_repository_modules(repository, kernel, cache=cache)
    assert "kmod-harness init" in told.value.advice
