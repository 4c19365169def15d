"""The way of one open() from the user's program to the module's function, frame by frame. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kmod_harness.explain.observed.observations import Frame, Stop
from kmod_harness.explain.page.scale import Span

#: What the functions on the way do, in plain words (6.1 and 6.12: arch/x86/entry, fs/open.c, fs/namei.c).
_MEANINGS = {
    "entry_SYSCALL_64": "the processor lands here, in kernel mode; it switches to the process's kernel stack",
    "entry_SYSCALL_64_after_hwframe": "the first kernel code: it saves the program's registers",
    "do_syscall_64": "looks the call's number up in the table of system calls",
    "do_syscall_x64": "calls the entry of the table of system calls",
    "__x64_sys_openat": "the system call openat, with its arguments from the registers",
    "__x64_sys_open": "the system call open, with its arguments from the registers",
    "__se_sys_openat": "checks and widens the arguments",
    "__do_sys_openat": "passes flags and mode on",
    "do_sys_open": "passes flags and mode on",
    "do_sys_openat2": "takes a free file descriptor and copies the path from the program",
    "do_filp_open": "prepares the walk along the path",
    "path_openat": "walks the path to its last part and makes a struct file",
    "do_open": "the path's end is found: may this process open it?",
    "do_o_path": "opens only the place, not the thing",
    "vfs_open": "from here on it is about the file itself",
    "do_dentry_open": "calls the open function that the file's kind has: a character device's is chrdev_open",
    "chrdev_open": "finds who registered this device number, takes over its functions, and calls its open",
    "misc_open": "finds who registered this minor number, and calls its open",
    "blkdev_open": "the open of block devices",
}


@dataclass(frozen=True)
class ShownFrame:
    """A frame on the way. ring: `user`, `kernel` or `module`; crossing: the first one in the kernel."""

    frame: Frame
    ring: str
    file: str
    meaning: str
    crossing: bool


@dataclass(frozen=True)
class StackUse:
    """The kernel stack of the process: its size and what is in use, bytes; inside: whether rsp is in it."""

    size: int
    used: int
    used_percent: float
    inside: bool


def shown_frames(stop: Stop, module_name: str) -> tuple[ShownFrame, ...]:
    """Returns the way from the outermost frame, the program's if it was seen, to the module's function."""
    way: list[ShownFrame] = []
    for frame in reversed(stop.frames):
        ring = {"user": "user", module_name: "module"}.get(frame.image, "kernel")
        crossing = ring != "user" and not any(shown.ring != "user" for shown in way)
        way.append(ShownFrame(frame, ring, shown_file(frame), meaning_of(frame, module_name), crossing))
    return tuple(way)


def shown_file(frame: Frame) -> str:
    """Returns the source file; of a path that begins at the root its end, the rest is of this machine."""
    return frame.file if not frame.file.startswith("/") else "/".join(frame.file.split("/")[-2:])


def meaning_of(frame: Frame, module_name: str) -> str:
    """Returns plain words for the frame's function, "" when this page has none."""
    if frame.image == module_name:
        return "the module's own function: an ordinary call has brought the process here"
    return _MEANINGS.get(frame.function.split(".", 1)[0], "")


def stack_use(stop: Stop) -> StackUse:
    """Returns how the stack pointer lies in the kernel stack of the process; stacks grow downwards."""
    stack = stop.task_stack
    used = stack.end - stop.rsp
    inside = stop.rsp in stack
    share = 100.0 - Span(stack.start, stack.end).position(stop.rsp) if inside else 0.0
    return StackUse(stack.size, used, share, inside)
