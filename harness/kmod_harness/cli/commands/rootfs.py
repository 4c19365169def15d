"""`kmod-harness rootfs`: the root file systems that the harness makes itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_EPILOG = """\
The last line of stdout is the image's path, for --rootfs. `buildroot` without --buildroot clones the pinned
release. An image once built is found by what went into it: run this again whenever something changed.
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "rootfs",
        help="print the path of a root file system, building it",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "name", nargs="?", choices=("embedded", "buildroot", "buildroot-ext4"), default="embedded"
    )
    group = parser.add_argument_group("for buildroot and buildroot-ext4")
    group.add_argument(
        "--buildroot",
        default="",
        metavar="DIR|REPOSITORY",
        help="a Buildroot tree, or a git repository that holds the pinned release",
    )
    group.add_argument(
        "--defconfig",
        default="",
        metavar="NAME|FILE",
        help="a configuration of ours, of Buildroot's or of yours (default: kmod_harness_defconfig)",
    )
    group.add_argument(
        "--sources",
        choices=("auto", "online", "debian"),
        default="auto",
        help="where sources come from: the network, or Debian's packages (default: what there is)",
    )
    group.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="build there and leave everything, for `make -C DIR menuconfig` or legal-info",
    )
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Prints the path of the image and nothing else."""
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.build.image.embedded import embedded_rootfs  # lazy

    if args.name == "embedded":
        given = [name for name in ("buildroot", "defconfig", "output") if getattr(args, name)]
        if given or args.sources != "auto":
            args.parser.error(f"--{(given or ['sources'])[0]} is for `rootfs buildroot`")
        print(embedded_rootfs())
        return 0
    from kmod_harness.build.buildroot import images  # lazy

    output = args.output.absolute() if args.output else None
    defconfig = args.defconfig or images.DEFCONFIG
    request = images.ImageRequest(args.buildroot, defconfig, args.sources, output)
    built = images.build_images(request, default_cache(), images.say_on_stderr)
    if kernel := images.kernel_of(built):
        images.say_on_stderr(f"with a kernel of its own: --kernel {kernel}")
    print(images.image_of(built, "ext4" if args.name == "buildroot-ext4" else "cpio"))
    return 0
