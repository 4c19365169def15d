"""KVM or software emulation: decided by running guest code, not by looking at /dev/kvm.

There are machines where /dev/kvm opens, KVM_CREATE_VM works and real-mode code
runs, since KVM emulates that, but the first 64-bit instruction never retires.
So a ROM that enters 64-bit mode (probe.S) is run under a time limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

#: Seconds a working KVM needs many times over (it takes about 0.1).
PROBE_SECONDS = 3.0
#: isa-debug-exit ends QEMU with (value << 1) | 1 (QEMU hw/misc/debugexit.c).
_ROM_EXIT = 0x10 << 1 | 1
_PROBE_CODE = bytes.fromhex(
    "fa31c08ed88ec02e660f0116b00066b8110000000f22c066ea1f000f00080066b810008ed88ec08ed0fcbf0010000031"
    "c0b9000c0000f3abc7050010000003200000c7050020000003300000c7050030000083000000b8200000000f22e0b800"
    "1000000f22d8b9800000c00f320d000100000f30b8110000800f22c0ea83000f001800bc009000006a1058e6f4f4ebfd"
    "0000000000000000ffff0000009acf00ffff00000092cf00ffff0000009aaf001f0090000f00"
)


@dataclass(frozen=True)
class Accelerator:
    """The way guest code runs: `name` is kvm or tcg, `cpu` QEMU's -cpu, `reason` one sentence."""

    name: str
    cpu: str
    reason: str

    @property
    def deadline_factor(self) -> float:
        """The factor of the harness's own deadlines; those that a user gives are exact."""
        return 1.0 if self.name == "kvm" else 4.0


# 5-level page tables off: 7 % faster boots under emulation, and the usual 4-level addresses. Fast string
# operations off, which the kernel would copy memory with: emulated a byte at a time, not eight
TCG_CPU = "max,la57=off,erms=off,fsrm=off"
# -cpu host may die on an MSR that the host's KVM does not know (0x10a): tried with and without it
KVM_CPUS = ("host", "host,arch-capabilities=off")


def probe_rom() -> bytes:
    """Returns the BIOS image that probe.S assembles to: 64-bit mode, then a write to port 0xf4."""
    rom = bytearray(0x10000)
    rom[: len(_PROBE_CODE)] = _PROBE_CODE
    rom[0xFFF0:0xFFF5] = bytes.fromhex("ea000000f0")
    return bytes(rom)


def choose_accelerator(qemu: str, wanted: str = "auto", cache_directory: Path | None = None) -> Accelerator:
    """Returns the accelerator to use; `wanted` is auto, tcg or kvm.

    The answer of a probe is kept per boot of the host and QEMU binary under
    `cache_directory`: a KVM that hangs costs its time limit once.
    """
    if wanted == "tcg":
        return Accelerator("tcg", TCG_CPU, "software emulation was asked for")
    if not os.path.exists("/dev/kvm"):
        return _without_kvm(wanted, "/dev/kvm does not exist here")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return _without_kvm(wanted, "this user may not open /dev/kvm")
    kept = cache_directory / "accelerator.json" if cache_directory else None
    key = _probe_key(qemu)
    found = _read_kept(kept, key)
    if found is None:
        try:
            found = _probe(qemu)
        except OSError as error:
            # of this moment, not of this machine: it is not kept
            return _without_kvm(wanted, f"{qemu} could not be run: {error.strerror}")
        _keep(kept, key, found)
    if found.name == "tcg":
        return _without_kvm(wanted, found.reason)
    return found


def _without_kvm(wanted: str, reason: str) -> Accelerator:
    if wanted == "kvm":
        from kmod_harness.errors import Misuse  # lazy

        raise Misuse(
            f"KVM was asked for, but {reason}", advice="leave the choice to the harness (accelerator=auto)"
        )
    return Accelerator("tcg", TCG_CPU, f"software emulation, because {reason}")


def _probe(qemu: str) -> Accelerator:
    reasons = []
    for cpu in KVM_CPUS:
        failure = _run_rom(qemu, cpu)
        if failure is None:
            return Accelerator("kvm", cpu, "a guest's first instructions ran under KVM")
        reasons.append(failure)
    return Accelerator("tcg", TCG_CPU, reasons[-1])


def _run_rom(qemu: str, cpu: str) -> str | None:
    """Returns why this CPU model does not run code under KVM, None if it does. Raises OSError."""
    with tempfile.NamedTemporaryFile(suffix=".rom") as rom:
        rom.write(probe_rom())
        rom.flush()
        argv = [qemu, "-M", "pc,accel=kvm", "-cpu", cpu, "-m", "16", "-nodefaults", "-display", "none"]
        argv += ["-no-reboot", "-bios", rom.name, "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=PROBE_SECONDS, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return f"a guest under KVM ran no instruction within {PROBE_SECONDS:g} s"
    if done.returncode == _ROM_EXIT:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines else f"exit status {done.returncode}"
    return f"QEMU with KVM failed: {said}"


def _probe_key(qemu: str) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        binary = os.stat(qemu)
        return f"{boot} {qemu} {binary.st_mtime_ns} {os.getuid()}"
    except OSError:
        return f"{boot} {qemu} {os.getuid()}"


def _read_kept(path: Path | None, key: str) -> Accelerator | None:
    if path is None:
        return None
    try:
        kept = json.loads(path.read_text())
        return Accelerator(**kept["accelerator"]) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(path: Path | None, key: str, accelerator: Accelerator) -> None:
    if path is None:
        return
    partial = path.with_suffix(f".{os.getpid()}")
    # where it cannot be kept, the next run finds it out again
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.write_text(json.dumps({"key": key, "accelerator": asdict(accelerator)}))
        partial.replace(path)
