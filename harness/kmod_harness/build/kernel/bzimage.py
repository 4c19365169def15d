"""The release of a bzImage, by the x86 boot protocol."""

from __future__ import annotations

import struct
from pathlib import Path

from kmod_harness.errors import Misuse

_EXPECTED = "expected a Linux bzImage (often named vmlinuz)"
#: Documentation/x86/boot.rst (6.1): "HdrS" at 0x202, version at 0x206, kernel_version at 0x20E, which
#: is an offset of the version string relative to 0x200.
_SETUP_BYTES = 64 << 10
_STRING_BYTES = 512


def bzimage_release(path: Path) -> str:
    """Returns the kernel release of a bzImage, such as `6.1.0-56-cloud-amd64`.

    Raises Misuse when the file cannot be read or is not a bzImage of boot protocol 2.00 or later.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_SETUP_BYTES)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Misuse(f"cannot read the kernel {path}; {_EXPECTED}", evidence=reason) from None
    if head[:4] == b"\x7fELF":
        raise Misuse(
            f"{path} is an ELF file (a vmlinux?), which QEMU cannot boot as a PC's kernel; {_EXPECTED}",
            advice="give the bzImage: arch/x86/boot/bzImage of the same build, or the build directory",
        )
    if len(head) < 0x210 or head[0x202:0x206] != b"HdrS":
        raise Misuse(f"{path} is not a kernel image; {_EXPECTED}", evidence='no "HdrS" at offset 0x202')
    version, pointer = struct.unpack_from("<H6xH", head, 0x206)
    start = pointer + 0x200
    text = head[start : start + _STRING_BYTES].split(b"\0", 1)[0]
    if version < 0x0200 or pointer == 0 or not text:
        raise Misuse(
            f"{path} does not say which release it is; {_EXPECTED}", evidence=f"boot protocol {version:#06x}"
        )
    return text.split(b" ", 1)[0].decode(errors="replace")
