"""One command on a guest, by this harness, by virtme-ng and by a bare QEMU: the same kernel, alternately.

    python tests/bench/against_others.py --kernel /boot/vmlinuz-RELEASE --vng /path/to/vng

The kernel needs its modules in ../lib/modules beside it, 9p or virtiofs among them: Debian's package
linux-image-amd64 has both. All are given the accelerator that the harness finds to work. Without udev on this
machine virtme-ng finds its output under `--vng "vng -v"` only.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from figures import Figure, seconds

from bench import bare_qemu
from kmod_harness import Prepared, Spec, prepare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kernel", type=Path, required=True, help="a vmlinuz")
    parser.add_argument("--vng", default="", help="virtme-ng's program and options (without: it is left out)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each")
    options = parser.parse_args()
    prepared = prepare(Spec(kernel=str(options.kernel)))
    print(f"{prepared.kernel.release}, {prepared.accelerator.name}; {prepared.qemu}")
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}", flush=True)
    runs = {
        "bare QEMU, until the first process writes": None,
        "kmod-harness run --cold -- uname -r": harness(options.kernel, "--cold"),
        "kmod-harness run -- uname -r": harness(options.kernel),
    }
    if options.vng:
        runs["vng --run VMLINUZ -- uname -r"] = vng(options.vng, prepared)
    run(harness(options.kernel), prepared.kernel.release)  # saves the guest that the others are restored from
    values: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, argv in runs.items():
            values[name].append(
                seconds(lambda argv=argv: run(argv, prepared.kernel.release) if argv else bare_qemu(prepared))
            )
    for name, measured in values.items():
        print(Figure(name, "s", tuple(measured)).row())
    print(f"load {os.getloadavg()[0]:.2f}")
    return 0


def harness(kernel: Path, *words: str) -> list[str]:
    program = [sys.executable, "-m", "kmod_harness.cli.main"]
    return [*program, "run", "--kernel", str(kernel), *words, "--", "uname", "-r"]


def vng(program: str, prepared: Prepared) -> list[str]:
    words = shlex.split(program)
    words += [] if prepared.accelerator.name == "kvm" else ["--disable-kvm"]
    words += ["--user", "root", "--run", str(prepared.kernel.bzimage), "--", "uname", "-r"]
    # it wants a terminal
    return ["script", "-qec", shlex.join(words), "/dev/null"]


def run(argv: list[str], release: str) -> None:
    # by what the command printed: without udev virtme-ng reports 255 whatever happened
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )
    if release not in done.stdout.splitlines():
        raise SystemExit(
            f"{shlex.join(argv)}: status {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-1000:]}"
        )


if __name__ == "__main__":
    sys.exit(main())
