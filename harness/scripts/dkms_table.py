"""Builds the modules of Debian's DKMS packages for kernels that are here, and prints a table in Markdown.

Packages are downloaded and unpacked into a scratch directory, and never installed:

    python harness/scripts/dkms_table.py [--kernel minimal] [--kernel debian] [NAME ...]

NAME: packages, all of apt's lists named *-dkms without. Takes 10 minutes, openafs as long again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.kernel.known import Kernel, resolve_kernel
from kmod_harness.build.modules import build_modules_in_place
from kmod_harness.errors import KmodHarnessError
from kmod_harness.spec.spec import Spec


@dataclass(frozen=True)
class Row:
    """A package built for a kernel: the way chosen, the number of .ko files, the reason where none."""

    package: str
    kernel: str
    way: str
    built: int
    reason: str

    def __str__(self) -> str:
        return f"| {self.package} | {self.kernel} | {self.way} | {self.built or 'no'} | {self.reason} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--kernel", action="append", default=[])
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    kernels = [resolve_kernel(Spec(kernel=name)) for name in args.kernel or ("minimal", "debian")]
    print("| package | kernel | way | .ko files | reason |\n|---|---|---|---|---|", flush=True)
    for name in args.names or packages():
        for kernel in kernels:
            with tempfile.TemporaryDirectory(prefix="dkms-") as scratch:
                print(row(name, kernel, Path(scratch)), flush=True)
    return 0


def packages() -> list[str]:
    """Returns the names of apt's packages with modules for dkms."""
    lines = subprocess.check_output(["apt-cache", "search", "-n", "dkms"], text=True).splitlines()
    names = [line.split()[0] for line in lines]
    return sorted(name for name in names if name.endswith("-dkms") and name != "dh-dkms")


def row(name: str, kernel: Kernel, scratch: Path) -> Row:
    """Returns what comes of a package, unpacked below `scratch`, for a kernel."""
    subprocess.run(["apt-get", "download", "-q", name], cwd=scratch, capture_output=True, check=True)
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
    return Row(name, kernel.name, way, len(built), reason.replace("|", "\\|"))


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
