"""`make bench`: what the harness costs, measured against a bare QEMU in one run.

Writes build/bench/bench.json and prints a table. Two things that are compared
are measured alternately; figures are medians with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from figures import Demand, Figure, at_least, at_most, seconds
from restores import measure_clones, measure_restores, measure_tests, measure_xdist

from kmod_harness import Guest, Prepared, Spec, boot, prepare
from kmod_harness.guest.agent.protocol import Call
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.machine.argv import MACHINE_TYPE

ROOT = Path(__file__).parents[2]


def bare_qemu(prepared: Prepared) -> None:
    """Boots the same kernel and images without the harness until init's line is on the serial port."""
    argv = [prepared.qemu, "-machine", f"{MACHINE_TYPE},accel={prepared.accelerator.name}"]
    argv += ["-cpu", prepared.accelerator.cpu, "-m", "256M", "-nodefaults", "-display", "none", "-no-reboot"]
    argv += ["-kernel", str(prepared.kernel.bzimage), "-initrd", str(prepared.initrd), "-serial", "stdio"]
    argv += ["-append", "console=ttyS0 panic=-1 rdinit=/bin/echo -- READY-FOR-WORK"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as qemu:
        assert qemu.stdout is not None
        # the kernel's own echo of its command line holds the word too: init's line begins with it
        if not any(line.startswith(b"READY-FOR-WORK") for line in qemu.stdout):
            raise SystemExit("the bare QEMU never printed its line")
        qemu.kill()


def measure_boots(prepared: Prepared, rounds: int) -> Iterable[Figure]:
    bare, harness = [], []
    for _ in range(rounds):
        bare.append(seconds(lambda: bare_qemu(prepared)))
        harness.append(_until_first_command(prepared))
    yield Figure("bare QEMU, cold boot to init's line", "s", tuple(bare))
    yield Figure("harness, cold boot to the first command's result", "s", tuple(harness))


def _until_first_command(prepared: Prepared) -> float:
    started = time.perf_counter()
    with boot(prepared) as guest:
        assert guest.run(["/bin/echo", "READY"]).stdout == b"READY\n"
        return time.perf_counter() - started


def measure_agent(guest: Guest) -> Iterable[Figure]:
    process = guest.syscaller
    getpid = Call(NUMBERS["getpid"])

    def singles() -> None:
        for _ in range(500):
            process.batch([getpid])

    def batches() -> None:
        for _ in range(20):
            process.batch([getpid] * 1000)

    yield Figure("agent, single system calls", "/s", tuple(500 / seconds(singles) for _ in range(5)))
    yield Figure(
        "agent, system calls in batches of 1,000", "/s", tuple(20000 / seconds(batches) for _ in range(5))
    )
    yield Figure(
        "agent, run a program (/bin/true)",
        "s",
        tuple(seconds(lambda: guest.run(["true"])) for _ in range(15)),
    )
    for size in (1 << 20, 16 << 20):
        data = os.urandom(size)
        name = f"agent, {size >> 20} MiB"
        write = tuple(seconds(lambda d=data: guest.write_file("/tmp/bench", d)) for _ in range(3))
        read = tuple(seconds(lambda: guest.read_file("/tmp/bench")) for _ in range(3))
        yield Figure(f"{name} to the guest", "s", write)
        yield Figure(f"{name} from the guest", "s", read)


def measure_shell_and_ssh(guest: Guest) -> Iterable[Figure]:
    guest.shell.run("true")
    rounds = tuple(seconds(lambda: guest.shell.run("true")) for _ in range(50))
    yield Figure("shell, round trip of `true` on ttyS1", "s", rounds)
    yield Figure("SSH, connect and authenticate", "s", (seconds(lambda: guest.ssh),))
    for size in (1 << 20, 16 << 20):
        data = os.urandom(size)
        yield Figure(
            f"SSH, {size >> 20} MiB to the guest", "s", (seconds(lambda d=data: guest.ssh.put(d, "/tmp/b")),)
        )
        yield Figure(
            f"SSH, {size >> 20} MiB from the guest", "s", (seconds(lambda: guest.ssh.get("/tmp/b")),)
        )


def measure_run(rounds: int) -> Iterable[Figure]:
    """Whole processes, alternately, from a warm cache and with bytecode, as `pip install` leaves it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    module = ROOT / "build/modules/chardev/chardev.ko"
    argv = [str(Path(sys.executable).with_name("kmod-harness")), "run", str(module)]
    restored, cold = [], []

    def run(*options: str) -> float:
        command = [*argv, *options, "--", "true"]
        return seconds(lambda: subprocess.run(command, check=True, capture_output=True, env=environment))

    run(), run("--cold")
    for _ in range(rounds):
        restored.append(run())
        cold.append(run("--cold"))
    yield Figure("kmod-harness run chardev.ko -- true, restored", "s", tuple(restored))
    yield Figure("kmod-harness run --cold chardev.ko -- true", "s", tuple(cold))


def demands(figures: dict[str, Figure]) -> list[Demand]:
    def median(name: str) -> float:
        return figures[name].median

    cold = median("harness, cold boot to the first command's result")
    runs = "kmod-harness run chardev.ko -- true, restored", "kmod-harness run --cold chardev.ko -- true"
    workers = "200 tests, one xdist worker", "200 tests, two xdist workers"
    return [
        at_most(
            "cold boot, harness to bare QEMU", cold / median("bare QEMU, cold boot to init's line"), 1.25
        ),
        at_least("single system calls a second", median("agent, single system calls"), 800),
        at_least("batched system calls a second", median("agent, system calls in batches of 1,000"), 8000),
        at_most("new process to the first answer, seconds", median("restore, to the first answer"), 0.15),
        at_most("the same at 1 GiB, seconds", median("restore at 1 GiB, to the first answer"), 0.15),
        at_most("from standby to the first answer, seconds", median("standby, to the first answer"), 0.06),
        at_least(
            "cold boot to standby, to the first command", cold / median("standby, to the first command"), 25
        ),
        at_least("run --cold to run, whole process", median(runs[1]) / median(runs[0]), 6),
        at_most("a test that loads and writes, seconds", median("a test: load, write, unload, judge"), 0.20),
        at_most("a test that ends in an oops, seconds", median("a test: load, oops, judge"), 0.30),
        at_least("two xdist workers to one", median(workers[0]) / median(workers[1]), 1.6),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="boots of each kind")
    parser.add_argument("--out", type=Path, default=ROOT / "build/bench")
    parser.add_argument("--kernel", default="minimal")
    options = parser.parse_args()
    prepared = prepare(Spec(kernel=options.kernel))
    print(f"{prepared.kernel.release}, {prepared.accelerator.name}: {prepared.accelerator.reason}")
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}, {platform.platform()}\n", flush=True)
    figures: list[Figure] = []

    def note(measured: Iterable[Figure]) -> None:
        for figure in measured:
            figures.append(figure)
            print(figure.row(), flush=True)

    note(measure_boots(prepared, options.rounds))
    with boot(prepared) as guest:
        note(measure_agent(guest))
        note(measure_shell_and_ssh(guest))
    note(measure_run(options.rounds))
    note(measure_restores(prepared, 3 * options.rounds))
    note(measure_tests(prepared, ROOT / "build/modules", 200))
    note(measure_clones(prepared))
    note(measure_xdist(ROOT / "build/modules/chardev/chardev.ko", 200))
    verdicts = demands({figure.name: figure for figure in figures})
    print()
    for demand in verdicts:
        print(f"{'held  ' if demand.held else 'MISSED'} {demand.name}: {demand.value:.4g} ({demand.limit})")
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "kernel": prepared.kernel.release,
        "accelerator": asdict(prepared.accelerator),
        "load": os.getloadavg(),
        "figures": [{**asdict(figure), "median": figure.median} for figure in figures],
        "demands": [asdict(demand) for demand in verdicts],
    }
    (options.out / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(demand.held for demand in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
