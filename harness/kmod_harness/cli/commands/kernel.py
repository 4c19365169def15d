"""`kmod-harness kernel`: build, list, and the build directory for `make -C`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kmod_harness.cli.repository_defaults import with_repository

if TYPE_CHECKING:
    from kmod_harness.build.kernel.kernel import Kernel
    from kmod_harness.spec.spec import Spec


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "kernel",
        help="build and list kernels, print a kernel's build directory",
        epilog="build a module of yours:\n  make -C $(kmod-harness kernel dir minimal) M=$PWD modules",
    )
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True, parser_class=type(parser))
    build = actions.add_parser(
        "build", help="build a kernel, or download it; nothing when it is here already"
    )
    _add_name(build)
    build.add_argument(
        "--source", default="", metavar="DIR|TARBALL", help="kernel source (default: Debian's)"
    )
    _add_kconfig(build)
    build.set_defaults(execute=execute_build, parser=build)
    listed = actions.add_parser("list", help="list the kernels that can be booted now")
    listed.set_defaults(execute=execute_list, parser=listed)
    directory = actions.add_parser("dir", help="print the build directory, for make -C")
    _add_name(directory)
    _add_kconfig(directory)
    directory.set_defaults(execute=execute_dir, parser=directory)


def execute_build(args: argparse.Namespace) -> int:
    """Builds or downloads the kernel; prints its release and image."""
    from kmod_harness.build.kernel.known import resolve_kernel  # lazy

    kernel = resolve_kernel(_spec(args), build=True, source=args.source)
    print(f"{kernel.name} {kernel.release} {kernel.bzimage}")
    return 0


def execute_list(args: argparse.Namespace) -> int:
    """Prints one kernel a line: name, release, image, build directory, what else is known of it."""
    from kmod_harness.build.kernel.known import known_kernels  # lazy
    from kmod_harness.cli.run.report import say_note  # lazy
    from kmod_harness.errors import Misuse  # lazy
    from kmod_harness.releases.proven import note_of_newer  # lazy

    kernels = known_kernels()
    if not kernels:
        raise Misuse(
            "no kernel is here yet",
            advice="kmod-harness kernel build minimal, or kernel build debian (seconds)",
        )
    rows = [(k.name, k.release, str(k.bzimage), str(k.build_dir or "-")) for k in kernels]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for (name, release, image, build_dir), kernel in zip(rows, kernels, strict=True):
        print(f"{name:{widths[0]}}  {release:{widths[1]}}  {image}  {build_dir}  {_known_of(kernel)}")
    for note in note_of_newer(*(kernel.release for kernel in kernels)):
        say_note(note)
    return 0


def _known_of(kernel: Kernel) -> str:
    """Returns the files that a kernel comes with, in words separated by commas, "-" for none."""
    files = {
        "config": kernel.config,
        "modules": kernel.modules_dir,
        "headers": kernel.build_dir,
        "System.map": kernel.system_map,
        "vmlinux": kernel.vmlinux,
    }
    words = [word for word, path in files.items() if path is not None]
    if kernel.config is not None and "\nCONFIG_DEBUG_INFO_BTF=y\n" in kernel.config.read_text(
        errors="replace"
    ):
        words.append("BTF")
    return ",".join(words) or "-"


def execute_dir(args: argparse.Namespace) -> int:
    """Prints the build directory and nothing else. Raises Misuse for a kernel without one."""
    from kmod_harness.build.kernel.known import resolve_kernel  # lazy
    from kmod_harness.errors import Misuse  # lazy

    kernel = resolve_kernel(_spec(args))
    if kernel.build_dir is None:
        raise Misuse(
            f"the kernel {kernel.name} has no build directory, so modules cannot be built for it",
            evidence=str(kernel.bzimage),
            advice="give a kernel build directory, or use minimal or debian",
        )
    print(kernel.build_dir)
    return 0


def _spec(args: argparse.Namespace) -> Spec:
    """Returns the kernel that is named, else the repository's, else `minimal`. Raises Misuse."""
    from kmod_harness.spec.spec import Spec  # lazy

    args = with_repository(args)
    return Spec(kernel=args.kernel or "minimal", kconfig=tuple(args.kconfig))


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kernel",
        nargs="?",
        default="",
        metavar="NAME",
        help="minimal, minimal@6.12, debian, debian@trixie, host, or a path (default: what "
        "kmod-harness.toml says, else minimal)",
    )


def _add_kconfig(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kconfig",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="Kconfig fragment over the minimal configuration; may be repeated. "
        "NAME: debug, kasan, lockdep, kmemleak, ubsan, kcsan, drivers, clang, ext4, no-kaslr",
    )
