"""`kmod-harness rootfs`: the embedded root file system."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "rootfs", help="print the path of the embedded root file system, building it"
    )
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Prints the path of the image and nothing else."""
    from ..build.rootfs import embedded_rootfs

    print(embedded_rootfs())
    return 0
