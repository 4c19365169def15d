"""Checks that a device node has appeared, with the numbers of its kernel device."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from kmod_harness.checks.require import require
from kmod_harness.guest.guest import Guest


@dataclass(frozen=True)
class DeviceNode:
    """A character device node.

    path: path of the node
    major: major number
    minor: minor number
    driver: name that /proc/devices lists for the major number
    """

    path: str
    major: int
    minor: int
    driver: str


def check_device_node(guest: Guest, path: str, *, device_class: str, driver: str = "") -> DeviceNode:
    """Checks that the node is a character device with the numbers of the class device of its name.

    guest: the guest
    path: path of the node
    device_class: directory under /sys/class
    driver: name expected in /proc/devices for the major number, "" for any

    Raises CheckFailed.
    """
    try:
        status = guest.syscaller.stat(path)
        major, minor = guest.device_number(path)
    except FileNotFoundError:
        listing = " ".join(guest.syscaller.list_directory(path.rpartition("/")[0] or "/"))
        require(False, f"there is no device node {path}", f"the directory holds: {listing}")
        raise
    require(stat.S_ISCHR(status.st_mode), f"{path} is no character device", f"mode {status.st_mode:o}")
    registered = f"/sys/class/{device_class}/{path.rpartition('/')[2]}/dev"
    require(guest.exists(registered), f"the kernel has no device behind {path}", f"{registered} is missing")
    said = guest.read_text(registered).strip()
    require(
        said == f"{major}:{minor}",
        f"{path} has other numbers than its device",
        f"the node: {major}:{minor}\n{registered}: {said}",
    )
    name = character_drivers(guest.read_text("/proc/devices")).get(major, "")
    require(name != "", f"/proc/devices does not list the major {major} of {path}")
    require(
        not driver or name == driver,
        f"the major {major} of {path} belongs to another driver",
        f"/proc/devices: {name}; expected {driver}",
    )
    return DeviceNode(path, major, minor, name)


def character_drivers(devices: str) -> dict[int, str]:
    """Returns major number -> name of the character devices in the text of /proc/devices.

    >>> character_drivers("Character devices:\\n  1 mem\\n253 chardev\\n\\nBlock devices:\\n254 virtblk\\n")
    {1: 'mem', 253: 'chardev'}
    """
    characters, _, _ = devices.partition("Block devices:")
    found: dict[int, str] = {}
    for line in characters.splitlines()[1:]:
        words = line.split(None, 1)
        if len(words) == 2:
            found.setdefault(int(words[0]), words[1])
    return found
