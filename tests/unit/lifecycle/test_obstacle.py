"""Which machines have templates and checkpoints: decided from the Spec alone."""

from __future__ import annotations

import pytest

from kmod_harness.lifecycle.saved_guest import obstacle
from kmod_harness.spec.spec import Spec


@pytest.mark.parametrize(
    "spec",
    [
        Spec(),
        Spec(cpus=4, ssh=False, append=("nokaslr",)),
        Spec(disks=("disk.img", "other.qcow2,ro")),
        Spec(devices=("virtio-rng-pci", "virtio-balloon-pci,id=balloon")),
    ],
)
def test_what_qemu_saves_whole_has_no_obstacle(spec: Spec) -> None:
    assert obstacle(spec) == ""


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec(qemu_args=("-snapshot",)), "--qemu-arg"),
        (Spec(devices=("edu",)), "device edu"),
        (Spec(devices=("virtio-rng-pci", "e1000")), "device e1000"),
        (Spec(devices=('{"driver":"virtio-rng-pci"}',)), "virtio-rng-pci"),
        (Spec(devices=("virtio-net-pci,romfile=/tmp/rom.bin",)), "names a file"),
        (Spec(devices=("virtio-input-host-pci,evdev=/dev/input/event0",)), "names a file"),
    ],
)
def test_what_it_does_not_is_named(spec: Spec, words: str) -> None:
    assert words in obstacle(spec)
