"""`kmod-harness init` in repositories of many kinds: what it says, what it writes, what it leaves alone."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from kmod_harness.cli.main import main
from kmod_harness.repository.read import read_repository
from unit.build.fake_programs import make_programs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, on a machine that has apt-get and QEMU, and no kernel yet."""
    directory = tmp_path / "repo"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(make_programs(tmp_path / "bin", "apt-get", "qemu-system-x86_64")))
    return directory


def init(capsys: pytest.CaptureFixture[str], here: Path, files: dict[str, str], *words: str) -> str:
    """Returns what `init` says in a repository with these files."""
    for name, text in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    assert main(["init", *words]) == 0
    return capsys.readouterr().out


MISC = {"Makefile": "obj-m := hello.o\n", "hello.c": "misc_register(&hello);\n"}


def test_one_module_with_a_device(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = init(capsys, here, MISC)
    assert said == (
        "found    hello.ko: from Makefile; it makes a device\n"
        "wrote    kmod-harness.toml\n"
        "wrote    tests/test_hello.py\n"
        "\n"
        "next:\n"
        "  kmod-harness kernel build   # once: downloads it\n"
        "  kmod-harness run            # builds, loads, unloads, judges\n"
        "  pytest                      # the same as tests, and whatever you add\n"
    )
    settings = read_repository(here)
    assert settings.modules.kbuild == (here,)
    assert settings.machine.kernel == "debian", "nothing to compile"
    test = (here / "tests/test_hello.py").read_text()
    compile(test, "test_hello.py", "exec")
    assert "def test_hello_loads_and_unloads(guest, built_modules):" in test
    assert "def test_the_device_of_hello_opens(guest, built_modules):" in test


def test_without_a_device_none_is_opened(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(capsys, here, {"Makefile": "obj-m := quiet-one.o\n", "quiet-one.c": ""})
    test = (here / "tests/test_quiet_one.py").read_text()
    compile(test, "test_quiet_one.py", "exec")
    assert 'built_modules["quiet_one"]' in test
    assert "device" not in test


def test_several_modules_are_loaded_in_one_test(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "Makefile": "obj-m := core.o drivers/\n",
        "drivers/Kbuild": "obj-m := a.o b.o\n",
        "drivers/a.c": MISC["hello.c"],
    }
    said = init(capsys, here, files)
    assert (
        "found    core.ko: from Makefile\nfound    drivers/a.ko: from drivers/Kbuild; it makes a device\n"
        in said
    )
    test = (here / "tests/test_modules.py").read_text()
    compile(test, "test_modules.py", "exec")
    assert "core, a, b" in test
    assert "test_their_devices_open" in test
    assert '# load = ["core.ko", "drivers/a.ko", "drivers/b.ko"]' in (here / "kmod-harness.toml").read_text()


def test_directories_without_a_common_makefile_are_built_each(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(capsys, here, {"a/Makefile": "obj-m := a.o\n", "b/Makefile": "obj-m := b.o\n"})
    assert read_repository(here).modules.kbuild == (here / "a", here / "b")


def test_a_module_of_a_kernels_option_is_built_with_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = init(capsys, here, {"src/Makefile": "obj-$(CONFIG_FOO) += foo.o\n"})
    assert "found    src/foo.ko: from src/Makefile, where CONFIG_FOO is m\n" in said
    modules = read_repository(here).modules
    assert modules.build == "make -C $KERNEL_DIR M=$PWD/src CONFIG_FOO=m modules"
    assert modules.load == (here / "src/foo.ko",)


def test_what_is_not_understood_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = init(capsys, here, {"Makefile": "obj-m := a.o $(MORE)\n"})
    assert "unclear  Makefile: what is built by `obj-m := a.o $(MORE)`\n" in said


def test_a_module_that_lies_there_is_loaded_and_its_build_is_asked_for(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = init(capsys, here, {"Makefile": "all:\n\t./build.sh\n", "out/hello.ko": ""})
    told = " ".join(said.split())
    assert "found out/hello.ko: no Makefile here names it; how it is built, say in [modules]" in told
    assert read_repository(here).modules.load == (here / "out/hello.ko",)
    assert '# build = "make KDIR=$KERNEL_DIR"' in (here / "kmod-harness.toml").read_text()
    assert not (here / "tests").exists()


@pytest.mark.parametrize(
    ("files", "evidence"),
    [
        ({}, "looked for obj-m in Makefile and Kbuild"),
        ({"Makefile": "obj-m := $(LIST)\n"}, "not understood in Makefile: obj-m := $(LIST)"),
    ],
)
def test_where_there_is_no_module_nothing_is_written(
    here: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], evidence: str
) -> None:
    for name, text in files.items():
        (here / name).write_text(text)
    assert main(["init"]) == 2
    # however it is wrapped
    told = " ".join(capsys.readouterr().err.split())
    assert f"no module was found in {here}" in told
    assert evidence in told
    assert {path.name for path in here.iterdir()} == set(files)


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = {
        "kmod-harness.toml": 'kernel = "minimal"\n',
        "tests/test_hello.py": "# mine\n",
        ".gitlab-ci.yml": "# mine\n",
    }
    said = init(capsys, here, {**MISC, **mine}, "--ci", "gitlab")
    for name, text in mine.items():
        assert f"left     {name}: it is there already\n" in said
        assert (here / name).read_text() == text
    assert "wrote" not in said


def test_settings_in_pyproject_are_settings(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '[tool.kmod-harness.modules]\nkbuild = ["."]\n'
    said = init(capsys, here, {**MISC, "pyproject.toml": text})
    assert "left     pyproject.toml: it has [tool.kmod-harness]\n" in said
    assert not (here / "kmod-harness.toml").exists()


def test_tests_go_where_tests_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "wrote    test/test_hello.py\n" in init(capsys, here, {**MISC, "test/README": ""})


def test_without_qemu_the_first_step_is_to_get_it(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bin/qemu-system-x86_64").unlink()
    assert "next:\n  kmod-harness doctor run " in init(capsys, here, MISC)


@pytest.mark.parametrize("forge", ["github", "gitlab"])
@pytest.mark.parametrize(
    ("kernel", "package", "size"), [("minimal", "flex", "2 GB"), ("debian", "pahole", "0.5 GB")]
)
def test_a_recipe_installs_what_its_kernel_takes(
    here: Path, capsys: pytest.CaptureFixture[str], forge: str, kernel: str, package: str, size: str
) -> None:
    file = {"github": ".github/workflows/kmod-harness.yml", "gitlab": ".gitlab-ci.yml"}[forge]
    settings = f'kernel = "{kernel}"\n[modules]\nkbuild = ["."]\n'
    said = init(capsys, here, {**MISC, "kmod-harness.toml": settings}, "--ci", forge)
    assert f"wrote    {file}\n" in said
    recipe = (here / file).read_text()
    assert {"qemu-system-x86", "gcc", package} <= set(recipe.split())
    assert ("flex" in recipe.split()) == (kernel == "minimal")
    assert size in recipe
    assert "@" not in recipe.replace("actions/checkout@v4", "").replace("actions/cache@v4", "").replace(
        "actions/upload-artifact@v4", ""
    ).replace("kmod-harness@TAG", ""), "every place is filled in"


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        (None, "kmod-harness"),
        ({"url": "file:///somewhere", "dir_info": {}}, ""),
        (
            {"url": "https://forge.example/x/kmod-harness", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "git+https://forge.example/x/kmod-harness@abc",
        ),
    ],
)
def test_a_recipe_installs_what_was_installed_here(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    origin: dict[str, object] | None,
    source: str,
) -> None:
    class Installed:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return None if origin is None else json.dumps(origin)

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed())
    said = init(capsys, here, MISC, "--ci", "gitlab")
    recipe = (here / ".gitlab-ci.yml").read_text()
    assert f'KMOD_HARNESS: "{source or "kmod-harness"}"' in recipe
    assert ("set KMOD_HARNESS in it to what pip can install there" in said) == (source == "")
    assert ("ca-certificates" in recipe.split()) == source.startswith("git+")
