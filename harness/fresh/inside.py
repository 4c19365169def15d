"""The first process in an empty root: it mounts what the root may see, then runs one command as one user.

root.py calls it in mount and process namespaces of its own, as root there. When it ends, the kernel ends all
processes that the command left, and the mounts go with the namespace.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_PIVOT_ROOT = 155  # x86-64: asm/unistd_64.h; glibc has no function for it
_MNT_DETACH = 2  # sys/mount.h
#: The status by which chroot(1) reports its own failure.
_NOT_ENTERED = 125


def main(arguments: Sequence[str]) -> int:
    """Runs `inside.py ROOT [--bind SOURCE:TARGET[:ro]]... [--user NAME] [--directory D] -- COMMAND`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--bind", action="append", default=[], metavar="SOURCE:TARGET[:ro]")
    parser.add_argument("--user", default="root")
    parser.add_argument("--directory", default="/")
    parser.add_argument("command")
    args = parser.parse_args(arguments)
    try:
        mount_all(args.root, args.bind)
        make_it_the_root(args.root)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the empty root cannot be entered: {error}", file=sys.stderr)
        return _NOT_ENTERED
    child = os.fork()
    if child == 0:
        become(args.user, args.directory, args.command)
    # the command receives SIGINT too; this process must outlive it to pass on its status
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return status_of(child)


def mount_all(root: Path, binds: Sequence[str]) -> None:
    """Mounts /proc of the namespace, /dev of the machine, and the directories asked for."""
    # pivot_root(2) wants a mount point
    mount("--bind", str(root), str(root))
    mount("--rbind", "/dev", str(root / "dev"))
    mount("-t", "proc", "proc", str(root / "proc"))
    for bind in binds:
        source, target, *options = bind.split(":")
        place = root / target.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        mount("--bind", source, str(place))
        if options:
            mount("-o", f"remount,bind,{options[0]}", str(place))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def make_it_the_root(root: Path) -> None:
    """Makes a directory the root of this mount namespace, in which nothing of the machine stays visible.

    chroot(2) would forbid user namespaces in it (user_namespaces(7)), which a machine allows.
    """
    os.chdir(root)
    # the old root is mounted over the new one, and goes at once (pivot_root(2), "pivot_root(".", ".")")
    call("pivot_root", _LIBC.syscall(_SYS_PIVOT_ROOT, b".", b"."))
    call("umount2", _LIBC.umount2(b".", _MNT_DETACH))
    os.chdir("/")


def call(name: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def become(user: str, directory: str, command: str) -> None:
    """Runs the command in a shell as its user, with that user's groups."""
    os.chdir(directory)
    # runuser (util-linux, essential) reads the root's own user database; the environment is kept
    words = ["sh", "-c", command] if user == "root" else ["runuser", "-u", user, "--", "sh", "-c", command]
    os.execvp(words[0], words)


def status_of(child: int) -> int:
    """Waits for all processes, as the first of a namespace has to; returns the child's exit status."""
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
