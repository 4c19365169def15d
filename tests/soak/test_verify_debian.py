"""Modules not written here, accounted for byte by byte: Debian's own, on Debian's kernels."""

from __future__ import annotations

import json
import random
import sys
from bisect import bisect_right
from pathlib import Path
from typing import Any

import pytest

from kmod_harness.build.debian_packages import dependencies, unpack_packages
from kmod_harness.build.image.initrd import channel_modules
from kmod_harness.build.kernel.own_modules import module_files
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.lifecycle.boot import boot
from kmod_harness.lifecycle.prepare import Prepared, prepare
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.spec.spec import Spec
from kmod_harness.verify.report import FindingKind
from kmod_harness.verify.verify_modules import verify_modules
from shared.cli_process import COMMAND

#: Large ones, ones with thousands of static calls, jump labels and alternatives; with what they depend on
#: and the drivers that the harness's channels load, 45 modules.
NAMED = ("xfs", "btrfs", "nfs", "nfsd", "kvm", "fuse", "overlay", "tun", "vxlan", "openvswitch", "nf_tables")
CHANGES = 100
#: Seconds a module may take beyond the boot, on average.
SECONDS_A_MODULE = 2.0

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def debian() -> Prepared:
    return prepare(Spec(kernel="debian", memory_mib=512))


def verify(*arguments: str) -> dict[str, Any]:
    """The object of one `verify --json --with-dependencies`; it must have passed."""
    import subprocess

    words = [*COMMAND, "verify", "--json", "--with-dependencies", "--memory", "512M", *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    report(found)
    return found


def report(found: dict[str, Any]) -> None:
    """Prints the totals: `pytest -s`, and the report of a failure, show them."""
    totals = {key: value for key, value in found["totals"].items() if key != "places"}
    seconds = sum(module["seconds"] for module in found["modules"])
    print(f"\n{found['kernel']['release']}: {json.dumps(totals)}; {seconds:.1f} s", file=sys.stderr)


def assert_explained(found: dict[str, Any]) -> None:
    assert found["totals"]["unexplained"] == found["totals"]["unexplained_text"] == 0
    assert not found["not_verified"]
    assert not any(module["findings"] for module in found["modules"])


def test_forty_of_debians_modules_are_explained_whole(debian: Prepared) -> None:
    present = [read_module(path).name for path in channel_modules(debian.kernel)]
    found = verify("--kernel", "debian", *present, *NAMED)
    assert_explained(found)
    names = {module["name"] for module in found["modules"]}
    assert len(names) >= 40 and set(NAMED) <= names
    assert found["totals"]["relocations"] > 300_000
    assert {"alternative", "paravirt", "static call", "return site"} <= set(found["totals"]["explained"])
    average = sum(module["seconds"] for module in found["modules"]) / len(names)
    assert average < SECONDS_A_MODULE


def test_ext4_of_debians_general_kernel_is_explained_whole(tmp_path: Path) -> None:
    """In the cloud kernel ext4 is built in; in the general one it is a module, as are the CRCs it wants."""
    (image,) = (name for name in dependencies("linux-image-amd64") if name.startswith("linux-image-"))
    unpack_packages([image], tmp_path)
    (kernel,) = (tmp_path / "boot").glob("vmlinuz-*")
    found = verify("--kernel", str(kernel), "crc32c_generic", "ext4", "xfs", "btrfs", "nfs")
    assert_explained(found)
    assert {"ext4", "jbd2", "mbcache", "xfs", "btrfs", "nfs"} <= {m["name"] for m in found["modules"]}


@pytest.mark.parametrize(
    ("arguments", "mechanisms"),
    [
        (("--append", "spectre_v2=off"), {"retpoline", "SMP lock"}),
        (("--append", "spectre_v2=retpoline,lfence"), {"retpoline"}),
        (("--append", "mitigations=off"), {"retpoline"}),
        (("--cpus", "2"), {"return site"}),
        # its return thunk only for the lower half of a cache line (Indirect Target Selection), with PTI
        (("--qemu-arg=-cpu", "--qemu-arg=Skylake-Server-v4"), {"return site"}),
        (("--qemu-arg=-cpu", "--qemu-arg=EPYC"), {"return site"}),
    ],
    ids=["no-retpolines", "lfence", "no-mitigations", "two-cpus", "its", "retbleed"],
)
def test_other_machines_patch_otherwise_and_are_explained_too(
    arguments: tuple[str, ...], mechanisms: set[str]
) -> None:
    found = verify("--kernel", "debian", "--cold", *arguments, "xfs", "kvm", "netfs", "fuse")
    assert_explained(found)
    assert mechanisms <= set(found["totals"]["explained"])


def test_a_hundred_random_changes_of_text_are_found_with_their_symbols(debian: Prepared) -> None:
    tree = module_files(debian.kernel.modules_dir) if debian.kernel.modules_dir else {}
    module = read_module(tree["xfs"])
    seed = random.randrange(1 << 32)
    print(f"\nseed {seed}", file=sys.stderr)
    dice = random.Random(seed)
    with boot(debian, cold=False) as guest:
        present = [read_module(path) for path in channel_modules(debian.kernel)]
        needed = [read_module(tree[name]) for name in module.depends]
        for file in (*needed, module):
            loaded = guest.load(file.path, force=True)
        names = function_addresses(guest.kallsyms(), module)
        changed = {}
        places = text_places(module, loaded.sections)
        with GuestMemory(guest.machine) as memory:
            for address in dice.sample(places, CHANGES):
                (old,) = memory.read_virtual(address, 1)
                memory.write_virtual(address, bytes((old ^ dice.randrange(1, 256),)))
                changed[address] = names[bisect_right(names, (address, chr(0x10FFFF))) - 1]
        (result,) = verify_modules(guest, debian.kernel, [module], [*present, *needed]).modules
    found = {
        finding.address + at: finding
        for finding in result.findings
        for at in range(len(finding.found))
        if finding.kind is FindingKind.TEXT
    }
    assert set(found) == set(changed)
    for address, (start, name) in changed.items():
        finding = found[address]
        shown, _, rest = finding.symbol.partition("+")
        assert finding.address - int(rest.split("/")[0], 16) == start, (hex(address), finding.symbol, name)
        assert (start, shown) in names


def function_addresses(kallsyms: Any, module: KernelModule) -> list[tuple[int, str]]:
    """What the guest itself says of the module's code: address and name, ascending."""
    return sorted((e.address, e.name) for e in kallsyms.of_module(module.name) if e.type in "tT")


def text_places(module: KernelModule, sections: Any) -> list[int]:
    """The addresses of all bytes of its text that stays, from its first function on."""
    return [
        sections[section.name] + at
        for section in module.sections
        if section.name in (".text", ".text.unlikely", ".exit.text") and section.name in sections
        for at in range(section.size)
    ]
