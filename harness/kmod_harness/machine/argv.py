"""From a Spec to QEMU's command line: one pure function, a reason beside every odd flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.machine.accelerator import Accelerator
from kmod_harness.machine.disks import DiskFile, disk_argv, option_value
from kmod_harness.spec.spec import Spec

#: Versioned, so that a saved device state meets the machine it was saved on. q35, since i440fx computes
#: its ACPI interrupt routing in an AML loop: 0.2 s of boot for each PCI device under emulation.
MACHINE_TYPE = "pc-q35-7.2"
AGENT_PORT = "kmod-harness.agent"

_EARLY_CONSOLE = "earlycon=uart8250,io,0x3f8,115200"
_CONSOLE = "console=ttyS0,115200"
#: What every kernel is told, and why.
KERNEL_WORDS = (
    # from the first line on: a kernel that dies early must be heard
    _EARLY_CONSOLE,
    _CONSOLE,
    # "<4>[ 1.234567] text": levels in the log
    "console_msg_format=syslog",
    # all levels: what a module says is its evidence
    "ignore_loglevel",
    # the nonce that closes a test's log must not be rate-limited away
    "printk.devkmsg=on",
    # a flood overwrites what ttyS0 has not carried yet, in the usual 128 KiB soon. With what describes its
    # records this takes 18 MB of the guest's memory; 16M would take 72
    "log_buf_len=4M",
    # reset at once after a panic, which QEMU turns into a pause with RAM intact
    "panic=-1",
    # a guest that hangs is asked by sysrq, which systemd's sysctl.d allows for `sync` alone
    "sysrq_always_enabled",
    "rdinit=/kmod-harness/init",
)
#: With these of the user's, an early console of ours would say each line once more on the same port.
_EARLY_NAMES = frozenset(("earlycon", "earlyprintk", "keep_bootcon"))


@dataclass(frozen=True)
class Endpoints:
    """Where the machine's channels end: file descriptors QEMU inherits, paths it creates."""

    qmp_fd: int
    agent_fd: int
    shell_fd: int
    directory: Path

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"

    @property
    def console_socket(self) -> Path:
        return self.directory / "console.sock"

    @property
    def gdb_socket(self) -> Path:
        return self.directory / "gdb.sock"


@dataclass(frozen=True)
class RamFile:
    """Guest RAM in a file: `shared` writes to it (a template is made), else copy-on-write."""

    path: Path
    shared: bool


def kernel_command_line(spec: Spec) -> str:
    """Returns the kernel's command line; the user's words come last and so win, but for the log's console.

    The kernel gives up its early console for the one that is named last (register_console(),
    kernel/printk/printk.c, 6.1): were that one it does not have, every line would come twice.
    """
    first_names = {word.partition("=")[0] for word in spec.append}
    own = [word for word in KERNEL_WORDS if word != _EARLY_CONSOLE or not first_names & _EARLY_NAMES]
    last = [_CONSOLE] if "console" in first_names else []
    return " ".join((*own, *spec.append, *last))


def qemu_argv(
    qemu: str,
    spec: Spec,
    accelerator: Accelerator,
    kernel: Path,
    initrd: Path,
    ends: Endpoints,
    *,
    disks: Sequence[DiskFile] = (),
    stopped: bool = False,
    ram: RamFile | None = None,
    incoming: bool = False,
) -> list[str]:
    """Returns QEMU's whole argument list.

    `stopped` starts with the CPUs halted (`-S`); `incoming` waits for a saved device state.
    """
    argv = [qemu, "-name", "kmod-harness", "-nodefaults", "-no-user-config", "-display", "none"]
    # RAM has the same name wherever it lies: what one machine saved is loaded into another
    argv += ["-machine", f"{MACHINE_TYPE},accel={accelerator.name},usb=off,vmport=off,memory-backend=ram"]
    argv += ["-cpu", accelerator.cpu, "-smp", str(spec.cpus), "-m", f"{spec.memory_mib}M"]
    # a reset pauses the guest, its memory intact. A panic does not: pvpanic tells of it before the kernel has
    # written out what it logged in an NMI or a double fault (panic(), kernel/panic.c, 6.12); it resets then
    argv += ["-action", "reboot=shutdown,shutdown=pause,panic=none"]
    if not incoming:
        # a saved guest has them in its RAM; to load them for it takes 4 ms
        argv += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", kernel_command_line(spec)]
    argv += ["-chardev", f"socket,id=qmp,fd={ends.qmp_fd}", "-mon", "chardev=qmp,mode=control"]
    argv += _serial_ports(ends) + _virtio_devices(ends, spec) + disk_argv(disks, ends.directory)
    if spec.firmware:
        argv += ["-bios", spec.firmware]
    for device in spec.devices:
        argv += ["-device", device]
    argv += ["-object", _memory_backend(spec, ram)]
    if stopped:
        argv += ["-S"]
    if incoming:
        argv += ["-incoming", "defer"]
    if incoming and stopped:
        # what it saves is to run where it is loaded, though it stands still here
        argv += ["-global", "migration.store-global-state=off"]
    return argv + list(spec.qemu_args)


def _memory_backend(spec: Spec, ram: RamFile | None) -> str:
    size = f"id=ram,size={spec.memory_mib}M"
    if ram is None:
        return f"memory-backend-ram,{size}"
    share = "on" if ram.shared else "off"
    return f"memory-backend-file,{size},mem-path={option_value(ram.path)},share={share}"


def _serial_ports(ends: Endpoints) -> list[str]:
    return [
        # ttyS0: the kernel log alone. The log file never blocks the guest and outlives the harness;
        # the socket is for break + sysrq and for people
        "-chardev",
        f"socket,id=console,path={option_value(ends.console_socket)},server=on,wait=off,"
        f"logfile={option_value(ends.console_log)}",
        "-serial",
        "chardev:console",
        # ttyS1: the shell, where no printk can land; its first prompt waits in the socket
        "-chardev",
        f"socket,id=shell,fd={ends.shell_fd}",
        "-serial",
        "chardev:shell",
    ]


def _virtio_devices(ends: Endpoints, spec: Spec) -> list[str]:
    # no virtio-rng: every CPU model used here has RDRAND, and each device costs boot time
    argv = [
        "-device",
        "virtio-serial-pci,id=channels,max_ports=2",
        "-chardev",
        f"socket,id=agent,fd={ends.agent_fd}",
        "-device",
        # with an id QEMU tells when the guest closes it (VSERPORT_CHANGE)
        f"virtserialport,id=agent,bus=channels.0,chardev=agent,name={AGENT_PORT}",
        # tells of a panic within milliseconds, whatever panic= says; it has no interrupt
        "-device",
        "pvpanic-pci",
    ]
    if not (spec.ssh or spec.network):
        return argv
    # restrict=on: the guest reaches nothing; port 0 lets the system choose the host's end, loopback only
    restrict = "off" if spec.network else "on"
    return [
        *argv,
        "-netdev",
        f"user,id=net,restrict={restrict},ipv6=off,hostfwd=tcp:127.0.0.1:0-10.0.2.15:22",
        # no option ROM: nobody boots from the network, and it costs a second of BIOS time
        "-device",
        "virtio-net-pci,netdev=net,romfile=",
    ]
