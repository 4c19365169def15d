"""The options that say what to boot: added to any command's parser, and made into a Spec."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmod_harness.spec.spec import Spec

#: Seconds that a load, a command or an unload may take where nothing says otherwise.
STEP_SECONDS = 60.0


def add_kernel_option(parser: argparse.ArgumentParser) -> None:
    """Adds --kernel and --kconfig alone, for commands that boot nothing."""
    parser.add_argument(
        "--kernel",
        default="",
        metavar="minimal|debian|host|PATH",
        help="kernel to use: a name, as minimal@6.12 and debian@trixie are, a bzImage, a kernel build "
        "directory or a .deb (default: the one here that the module was built for, else minimal)",
    )
    parser.add_argument(
        "--kconfig",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="Kconfig fragment over the minimal configuration, which makes another kernel; may be repeated. "
        "NAME: debug, kasan, lockdep, kmemleak, ubsan, kcsan, drivers, clang, ext4, no-kaslr",
    )


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Adds every option that reaches the Spec."""
    group = parser.add_argument_group(
        "the machine", "a value that begins with a dash is joined by =, as in --qemu-arg=-snapshot"
    )
    add_kernel_option(group)  # type: ignore[arg-type]
    group.add_argument(
        "--rootfs",
        default="",
        metavar="embedded|buildroot|buildroot-ext4|PATH",
        help="root file system: a name, a cpio archive, plain or compressed, or an ext4 image"
        " (default: embedded)",
    )
    group.add_argument(
        "--disk",
        action="append",
        default=[],
        metavar="FILE[,format=raw|qcow2][,ro]",
        help="disk /dev/vda, vdb, ...; FILE itself is never written (default format: qcow2 for *.qcow2, raw)",
    )
    group.add_argument("--append", action="append", default=[], metavar="WORDS", help="kernel command line")
    group.add_argument("--cpus", type=int, default=None, metavar="N", help="virtual CPUs (default: 1)")
    group.add_argument(
        "--memory", default="", metavar="SIZE", help="guest RAM, as 512M or 2G (default: 256M)"
    )
    group.add_argument(
        "--modules",
        choices=("needed", "all"),
        default=None,
        dest="guest_modules",
        help="what modprobe finds in the guest: what was loaded, or all of the kernel's own modules too"
        " (default: needed; with all the guest has 768M)",
    )
    group.add_argument("--device", action="append", default=[], metavar="ARG", help="QEMU's -device")
    group.add_argument(
        "--qemu-arg", action="append", default=[], metavar="ARG", help="one raw argument of QEMU"
    )
    group.add_argument("--firmware", default="", metavar="FILE", help="BIOS image (QEMU's -bios)")
    group.add_argument(
        "--ssh",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="give the guest a network card that only the host reaches (default: no card)",
    )
    group.add_argument("--network", action="store_true", help="let the guest reach outside")
    group.add_argument(
        "--accel",
        choices=("auto", "tcg", "kvm"),
        default="auto",
        help="what runs the guest's instructions (default: auto, decided by running code)",
    )
    group.add_argument(
        "--boot-timeout",
        type=positive_seconds,
        default=None,
        metavar="SECONDS",
        help="how long the guest may take to become ready (default: 15, and 6 for each of KASAN, "
        "lockdep and the like that the kernel has; four times as long under software emulation)",
    )


def spec_from(args: argparse.Namespace) -> Spec:
    """Returns the Spec these options describe. Raises SpecError naming the field."""
    from kmod_harness.spec.spec import MEMORY_WITH_MODULES, Spec, parse_size_mib  # lazy

    has_all = args.guest_modules == "all"
    return Spec(
        kernel=args.kernel,
        rootfs=args.rootfs or "embedded",
        kconfig=tuple(args.kconfig),
        append=tuple(word for words in args.append for word in words.split()),
        cpus=1 if args.cpus is None else args.cpus,
        memory_mib=parse_size_mib(args.memory or (f"{MEMORY_WITH_MODULES}" if has_all else "256M")),
        disks=tuple(args.disk),
        devices=tuple(args.device),
        qemu_args=tuple(args.qemu_arg),
        firmware=args.firmware,
        ssh=args.ssh,
        network=args.network,
        modules="all" if has_all else "needed",
        accelerator=args.accel,
    )


def positive_seconds(text: str) -> float:
    """Returns the seconds for argparse; refuses what is no positive number."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400 * 20:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, not {text!r}")
    return seconds
