"""`kmod-harness init`: the first files of somebody's repository, from what its Makefiles say."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmod_harness.errors import Misuse

if TYPE_CHECKING:
    from kmod_harness.repository.sources import Found

_EPILOG = """\
Looks for modules in the Makefile or Kbuild of this directory, else of those below it, and writes
kmod-harness.toml and a first test, which loads and unloads the modules and opens the devices they make.
A file that is there already stays as it is.
"""
#: Directories that tests are looked for in; the first is made where there is none.
_TEST_DIRECTORIES = ("tests", "test")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "init", help="write kmod-harness.toml and a first test for the modules here", epilog=_EPILOG
    )
    parser.add_argument(
        "--ci", choices=("github", "gitlab"), default="", help="write a CI recipe for this forge too"
    )
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Writes what is not there yet; says what was found, what was written and what to type next."""
    from kmod_harness.repository.first_files import CI_FILES, ci_recipe, first_test, settings_text  # lazy
    from kmod_harness.repository.locate import FILE, PYPROJECT, has_table  # lazy
    from kmod_harness.repository.read import read_repository  # lazy
    from kmod_harness.repository.sources import look_through  # lazy

    here = Path.cwd()
    found = look_through(here)
    _refuse_nothing(found)
    for row in _understood(found):
        _say(*row)
    if has_table(here / PYPROJECT):
        _say("left", PYPROJECT, "it has [tool.kmod-harness]")
    else:
        _write(here, Path(FILE), settings_text(found, _kernel()))
    if found.modules:
        name, text = first_test(found.modules)
        _write(here, _test_directory(here) / name, text)
    if args.ci:
        kernel, source = read_repository().machine.kernel or "minimal", _installed_from()
        recipe = ci_recipe(args.ci, kernel, _packages(kernel, source), source or "kmod-harness")
        if _write(here, Path(CI_FILES[args.ci]), recipe) and not source:
            _say("", "set KMOD_HARNESS in it to what pip can install there", "here it was a local directory")
    print("\nnext:")
    for command, why in _next(found):
        print(f"  {command:<26}  # {why}")
    return 0


def _refuse_nothing(found: Found) -> None:
    """Raises Misuse where there is nothing to write about, with what was not understood."""
    if not found.modules and not found.lying:
        raise Misuse(
            f"no module was found in {Path.cwd()}",
            evidence="\n".join(f"not understood in {one.makefile}: {one.line}" for one in found.unclear)
            or "looked for obj-m in Makefile and Kbuild, here and four directories deep, and for .ko files",
            advice="go to the directory of the module's Makefile, or write kmod-harness.toml yourself:"
            ' below [modules] `build = "COMMAND"` and `load = ["FILE.ko"]`',
        )


def _understood(found: Found) -> Iterator[tuple[str, str, str]]:
    for module in found.modules:
        about = f"from {module.makefile}"
        about += f", where {' and '.join(module.configs)} is m" if module.configs else ""
        yield "found", str(module.ko), about + ("; it makes a device" if module.makes_node else "")
    for one in found.unclear:
        yield "unclear", str(one.makefile), f"what is built by `{one.line}`"
    for ko in found.lying:
        about = "no Makefile here names it" + ("" if found.modules else "; how it is built, say in [modules]")
        yield "found" if not found.modules else "unclear", str(ko), about


def _say(what: str, subject: str, about: str = "") -> None:
    from kmod_harness.report.columns import wrapped  # lazy

    for line in wrapped(f"{what:<9}{subject}{f': {about}' if about else ''}", further=" " * 9):
        print(line)


def _write(here: Path, path: Path, text: str) -> bool:
    """Writes a file that is not there yet, and says so; returns whether it was."""
    place = here / path
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with place.open("x") as file:
            file.write(text)
    except FileExistsError:
        _say("left", str(path), "it is there already")
        return False
    _say("wrote", str(path))
    return True


def _test_directory(here: Path) -> Path:
    there = (Path(name) for name in _TEST_DIRECTORIES if (here / name).is_dir())
    return next(there, Path(_TEST_DIRECTORIES[0]))


def _kernel() -> str:
    """Returns the kernel to begin with: one that is here, else the one that takes no compiling."""
    from kmod_harness.build.kernel.known import known_kernels  # lazy

    here = [kernel.name for kernel in known_kernels()]
    known = next((name for name in ("minimal", "debian") if name in here), "")
    return known or ("debian" if shutil.which("apt-get") else "minimal")


def _packages(kernel: str, source: str) -> Sequence[str]:
    """Returns the packages of a machine that installs from there and runs the tests with this kernel."""
    from kmod_harness.host.packages import requirements  # lazy

    groups = ("run", "kernel" if kernel == "minimal" else "debian")
    packages = dict.fromkeys(one.package for one in requirements() if one.group in groups)
    return [*packages, *(("git", "ca-certificates") if source.startswith("git+") else ())]


def _installed_from() -> str:
    """Returns the address that pip installed this from, "" where another machine has not got it (PEP 610)."""
    from importlib.metadata import PackageNotFoundError, distribution  # lazy

    try:
        origin = json.loads(distribution("kmod-harness").read_text("direct_url.json") or "null")
    except (PackageNotFoundError, ValueError):
        return ""
    if origin is None:
        return "kmod-harness"
    vcs = origin.get("vcs_info")
    if vcs:
        return f"{vcs['vcs']}+{origin['url']}@{vcs['commit_id']}"
    return "" if origin["url"].startswith("file:") else str(origin["url"])


def _next(found: Found) -> Iterator[tuple[str, str]]:
    """Yields commands to type, each with what it does."""
    from kmod_harness.build.kernel.known import resolve_kernel  # lazy
    from kmod_harness.repository.read import read_repository  # lazy
    from kmod_harness.spec.spec import Spec  # lazy

    if shutil.which("qemu-system-x86_64") is None:
        yield "kmod-harness doctor run", "QEMU is missing: how to install it, and what else is"
    machine = read_repository().machine
    try:
        resolve_kernel(Spec(kernel=machine.kernel or "", kconfig=machine.kconfig or ()))
    except Misuse:
        how = "compiles it: 5 to 8 minutes" if machine.kernel != "debian" else "downloads it"
        yield "kmod-harness kernel build", f"once: {how}"
    yield "kmod-harness run", "builds, loads, unloads, judges"
    if found.modules:
        yield "pytest", "the same as tests, and whatever you add"
