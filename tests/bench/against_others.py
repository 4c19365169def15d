"""One command on a guest, by this harness, by virtme-ng and by a bare QEMU: the same kernel, alternately.

    python tests/bench/against_others.py --kernel /boot/vmlinuz-RELEASE --vng /path/to/vng

The kernel needs its modules in ../lib/modules beside it, 9p or virtiofs among them: Debian's package
linux-image-amd64 has both. All are given the accelerator that the harness finds to work. Without udev on this
machine virtme-ng finds its output under `--vng "vng -v"` only.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
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
    release = prepared.kernel.release
    actions: dict[str, Callable[[], object]] = {
        "bare QEMU, until the first process writes": partial(bare_qemu, prepared),
        "kmod-harness run --cold -- uname -r": partial(run, harness(options.kernel, "--cold"), release),
        "kmod-harness run -- uname -r": partial(run, harness(options.kernel), release),
    }
    if options.vng:
        actions["vng --run VMLINUZ -- uname -r"] = partial(run, vng(options.vng, prepared), release)
    run(harness(options.kernel), release)  # saves the guest that later runs restore
    values: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for _ in range(options.rounds):
        for name, action in actions.items():
            before = processor_seconds()
            values[name].append((seconds(action), processor_seconds() - before))
    for name, measured in values.items():
        print(Figure(name, "s", tuple(wall for wall, _ in measured)).row())
        print(Figure("    of a processor", "s", tuple(processor for _, processor in measured)).row())
    print(f"load {os.getloadavg()[0]:.2f}")
    return 0


def processor_seconds() -> float:
    """What all processes that have ended took: it says little of how busy the machine is."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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
