"""The reason that a guest never became ready, as far as its kernel log tells."""

from __future__ import annotations

import re

#: The agent's words (guest/agent/src/port.c).
NO_PORT = "no virtio-serial port from the host yet"
_INIT = "Run /kmod-harness/init as init process"
_OTHER_INIT = re.compile(r"Run (?!/kmod-harness/init )(\S+) as init process")
#: A text of the log, and what a kernel lacks that says it last; the first that is there counts. Texts of
#: init/main.c, init/do_mounts.c and kernel/panic.c, 6.1 to 7.2.
_SYMPTOMS = (
    (
        NO_PORT,
        "the guest's agent runs, but no virtio_console driver gives it its port: the kernel needs "
        "CONFIG_VIRTIO_PCI and CONFIG_VIRTIO_CONSOLE, and nothing that keeps them from starting",
    ),
    (
        "Unable to mount root fs",
        "the kernel did not take the initramfs: it needs CONFIG_BLK_DEV_INITRD and enough memory",
    ),
    (
        "Failed to execute /kmod-harness/init",
        "the kernel cannot start a static 64-bit program: it needs CONFIG_64BIT and CONFIG_BINFMT_ELF",
    ),
    (
        _INIT,
        "the guest's init was started, and then nothing: give it more time with --boot-timeout",
    ),
)
_SILENT = "the kernel wrote nothing to ttyS0: it needs CONFIG_SERIAL_8250_CONSOLE, or is not for this machine"
_STILL_BOOTING = (
    "it was still booting: give it more time with --boot-timeout; `kmod-harness boot` shows it all"
)


def boot_advice(log: str) -> str:
    """Returns what to do about a guest that was not ready in time.

    log: what the kernel log ends with

    >>> boot_advice("")[:38]
    'the kernel wrote nothing to ttyS0: it '
    """
    if not log.strip():
        return _SILENT
    return _symptom(log) or _STILL_BOOTING


def panic_advice(log: str) -> str:
    """Returns what to do about a guest that panicked or restarted before it was ready, by its log's end."""
    return _symptom(log) or "what a kernel needs to get there: kernel-config/minimal.config"


def _symptom(log: str) -> str:
    other = _OTHER_INIT.search(log)
    if other is not None:
        return f"the kernel runs {other[1]} as init, not the harness's: leave out rdinit= and init="
    return next((advice for text, advice in _SYMPTOMS if text in log), "")
