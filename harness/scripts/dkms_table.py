"""Builds, loads, unloads and verifies the modules of Debian's DKMS packages, and prints a table in Markdown.

Packages are downloaded and unpacked into a scratch directory, and never installed:

    python harness/scripts/dkms_table.py [--kernel minimal] [--kernel debian] [--suite trixie] [NAME ...]

NAME: packages, all of the suite's lists named *-dkms without. Takes 20 minutes, openafs as long again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmod_harness.build.debian_suites import BINARIES, suite_lists
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.known import resolve_kernel
from kmod_harness.build.modules import build_modules_in_place
from kmod_harness.errors import KmodHarnessError
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.spec.spec import Spec

#: modules with debug information and their dependencies lie in the guest's memory twice
_MEMORY = "1G"
#: Modules that load with these parameters alone.
_PARAMETERS = {"lime": ("path=/dev/null", "format=raw")}


@dataclass(frozen=True)
class Row:
    """A package tried on a kernel.

    way: how it was built
    built: its .ko files
    runs: outcomes of loading and unloading each, with how often
    verified: bytes compared, relocations, unexplained bytes of those that loaded
    reason: why it was not built, or why modules did not load
    """

    package: str
    kernel: str
    way: str
    built: int
    runs: str
    verified: str
    reason: str

    def __str__(self) -> str:
        cells = (
            self.package,
            self.kernel,
            self.way,
            self.built or "no",
            self.runs,
            self.verified,
            self.reason,
        )
        return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--kernel", action="append", default=[])
    parser.add_argument(
        "--suite", default="", help="Debian's suite, such as trixie (default: the running one)"
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    kernels = [resolve_kernel(Spec(kernel=name)) for name in args.kernel or ("minimal", "debian")]
    print(
        "| package | kernel | way | .ko files | run | verify | reason |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    with _apt_options(args.suite) as options:
        for name in args.names or packages(options):
            for kernel in kernels:
                with tempfile.TemporaryDirectory(prefix="dkms-") as scratch:
                    print(row(name, kernel, Path(scratch), options), flush=True)
    return 0


@contextlib.contextmanager
def _apt_options(suite: str) -> Iterator[Sequence[str]]:
    if not suite:
        yield ()
        return
    with suite_lists([suite], BINARIES) as options:
        yield options


def packages(options: Sequence[str]) -> list[str]:
    """Returns the names of apt's packages with modules for dkms."""
    command = ["apt-cache", *options, "search", "-n", "dkms"]
    lines = subprocess.check_output(command, text=True).splitlines()
    names = [line.split()[0] for line in lines]
    return sorted(name for name in names if name.endswith("-dkms") and name != "dh-dkms")


def row(name: str, kernel: Kernel, scratch: Path, options: Sequence[str]) -> Row:
    """Tries a package, unpacked below `scratch`, on a kernel."""
    command = ["apt-get", *options, "download", "-q", name]
    subprocess.run(command, cwd=scratch, capture_output=True, check=True)
    (package,) = scratch.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, scratch], check=True)
    (source,) = (path for path in (scratch / "usr/src").iterdir() if path.is_dir())
    said: list[str] = []
    built: tuple[Path, ...] = ()
    reason = ""
    try:
        built = build_modules_in_place(source, kernel, scratch / "log", say=said.append)
    except KmodHarnessError as error:
        built = getattr(error, "built", ())
        reason = reason_of(error).replace(f"{source}/", "")
    way = "; ".join(line.partition(": ")[2] for line in said)
    runs, verified, refused = tried(built, kernel)
    reason = "; ".join(filter(None, (reason, *refused))).replace("|", "\\|")
    return Row(name, kernel.name, way, len(built), runs, verified, reason)


def tried(built: Sequence[Path], kernel: Kernel) -> tuple[str, str, list[str]]:
    """Loads, unloads and verifies the modules of a package: all in one guest, each alone where that fails.

    Returns the outcomes with how often, what verify compared in all, and the reason of each other outcome.
    """
    modules = [(read_module(path), path) for path in built]
    # what others may ask for by an alias comes first: request_module finds what was loaded
    modules.sort(key=lambda one: not one[0].aliases)
    files = {module.name: (module, path) for module, path in modules}
    depends = {name: module.depends for name, (module, _) in files.items()}
    refused: list[str] = []

    def given(names: Sequence[str]) -> list[str]:
        ordered = dict.fromkeys(one for name in names for one in closure(name, depends))
        return [str(files[name][1]) for name in ordered]

    groups = [tuple(files)]
    ran, options = run(kernel, given(groups[0])) if files else ({}, ())
    if len(files) > 1 and ran["outcome"] != "passed":
        groups = [(name,) for name in files]
    outcomes: Counter[str] = Counter()
    compared: Counter[str] = Counter()
    for names in groups if files else ():
        if len(groups) > 1:
            ran, options = run(kernel, given(names))
        outcomes[ran["outcome"]] += len(names)
        if ran["outcome"] != "passed":
            refused.append(f"{' '.join(names)}: {ran['reason']}")
            continue
        compared.update(compare(names, answer("verify", kernel, given(names), *options), refused))
    runs = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    return runs, ", ".join(f"{count} {what}" for what, count in compared.items()), refused


def closure(name: str, depends: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns a module's partners of its own package, what it depends on first, and the module."""
    found: dict[str, None] = {}
    for needed in depends[name]:
        if needed in depends:
            found |= dict.fromkeys(closure(needed, depends))
    return [*found, name]


def run(kernel: Kernel, modules: Sequence[str]) -> tuple[dict[str, Any], Sequence[str]]:
    """Returns the JSON of `kmod-harness run`, and the options it was given.

    Where it fails, all of the kernel's own modules are there for request_module, as where it is installed.
    """
    ran = answer("run", kernel, modules)
    if ran["outcome"] == "passed" or kernel.modules_dir is None:
        return ran, ()
    options = ("--modules", "all")
    return answer("run", kernel, modules, *options), options


def answer(command: str, kernel: Kernel, modules: Sequence[str], *options: str) -> dict[str, Any]:
    """Returns the JSON of `kmod-harness run` or `verify`."""
    words = ["--kernel", kernel.name, "--memory", _MEMORY, "--json", *options]
    for path in modules:
        words += [path, *(f"--param={one}" for one in _PARAMETERS.get(Path(path).stem, ()))]
    done = subprocess.run(
        [sys.executable, "-m", "kmod_harness.cli.main", command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compare(names: Sequence[str], verified: Mapping[str, Any], refused: list[str]) -> Counter[str]:
    """Returns what verify compared of these modules; adds to `refused` where it failed."""
    if verified["outcome"] != "passed":
        told = "; ".join(error["message"] for error in verified["errors"])
        refused.append(f"{' '.join(names)}: verify: {verified['outcome']}: {told}")
    sections = [
        part for one in verified.get("modules", ()) if one["name"] in names for part in one["sections"]
    ]
    counts = {
        "bytes": sum(part["size"] for part in sections),
        "relocations": sum(part["relocations"] for part in sections),
        "unexplained": sum(part["unexplained"] for part in sections),
    }
    return Counter(counts)


def reason_of(error: KmodHarnessError) -> str:
    """Returns a failure in one line: what happened, the options it names, the fragment."""
    missing = re.findall(r"without (CONFIG_\w+)", error.evidence)
    told = [error.message]
    told += [line for line in error.evidence.splitlines() if line.startswith("BUILD_EXCLUSIVE")]
    told += [f"misses {', '.join(missing)}"] if missing else []
    fragment = re.findall(r"^CONFIG_\w+=y$", error.advice, re.MULTILINE)
    told += [f"fragment `{' '.join(fragment)}`"] if fragment else []
    return "; ".join(told)


if __name__ == "__main__":
    sys.exit(main())
