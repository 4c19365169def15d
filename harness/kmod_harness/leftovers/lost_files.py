"""Open files that nothing refers to: what a module opened, and its exit did not close.

A file that the kernel opened for itself (filp_open, fget) has no pointer to the module. It is found as
kmemleak finds lost memory: it is in use, and no memory in use points to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from kmod_harness.leftovers.allocator.pages import PAGE, Use
from kmod_harness.leftovers.pointers import kernel_in, stopped
from kmod_harness.leftovers.saved_ram import saved_ram
from kmod_harness.leftovers.words import words_into
from kmod_harness.leftovers.written_ram import WrittenRam

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import KernelModule
    from kmod_harness.leftovers.allocator.slabs import SlabObject
    from kmod_harness.leftovers.kernel_data import KernelData
    from kmod_harness.leftovers.stopped_kernel import StoppedKernel
    from kmod_harness.machine.machine import Machine

#: Functions that give a reference to a file which their caller has to give back.
_OPENERS = frozenset(
    {
        *("filp_open", "file_open_root", "dentry_open", "open_with_fake_path", "kernel_file_open"),
        *("fget", "fget_raw", "anon_inode_getfile", "alloc_file_pseudo", "shmem_file_setup"),
        *(
            "shmem_kernel_file_setup",
            "sock_alloc_file",
            "eventfd_fget",
            "get_task_exe_file",
            "get_mm_exe_file",
        ),
    }
)
#: Members that say which file a struct file is.
_IDENTITY = ("f_inode", "f_op")


def may_lose_files(module: KernelModule) -> bool:
    """Returns whether the module calls what opens files."""
    return any(symbol.name in _OPENERS for symbol in module.undefined)


def find_lost_files(machine: Machine, data: KernelData) -> list[SlabObject]:
    """Returns the files that nothing refers to; [] for a machine that was not restored.

    Raises MachineFailure where the kernel's memory is not as expected, OSError.
    """
    if not {*_IDENTITY, ""} <= set(data.layouts.get("file", ())):
        return []
    with saved_ram(machine) as before, stopped(machine), WrittenRam(machine) as ram:
        if before is None:
            return []
        kernel = kernel_in(machine, ram, data)
        cache = kernel.variable("filp_cachep")
        return lost_files(kernel, data.layouts["file"], cache, list(ram.written()), before)


def lost_files(
    kernel: StoppedKernel,
    layout: Mapping[str, int],
    cache: int,
    memory: Sequence[tuple[int, bytes]],
    read_before: Callable[[int, int], bytes],
) -> list[SlabObject]:
    """Returns the files in use that no memory in use refers to, and that were not there before.

    layout: offsets of the members of struct file
    cache: address of the slab cache of files, 0 where only its name tells
    memory: runs of memory that the guest wrote (physical address, bytes)
    read_before: function that reads physical memory as it was when the guest was restored
    """
    files = [file for file in _files(kernel, cache, memory) if _is_new(kernel, layout, file, read_before)]
    spans = [range(file.start, file.start + file.size) for file in files]
    referred = set()
    for word in words_into(spans, memory):
        file = next(file for file in files if file.start <= word.value < file.start + file.size)
        place = word.physical + kernel.direct_map
        is_own = file.start <= place < file.start + file.size
        if not is_own and file.start not in referred and kernel.holds(word.physical):
            referred.add(file.start)
    return [file for file in files if file.start not in referred]


def _files(kernel: StoppedKernel, cache: int, memory: Iterable[tuple[int, bytes]]) -> list[SlabObject]:
    slabs = {}
    for start, data in memory:
        for number in range(start // PAGE, (start + len(data)) // PAGE):
            page = kernel.pages.use_of(number)
            if page.use is Use.SLAB:
                slabs[page.head] = page
    objects = [file for page in slabs.values() for file in kernel.slabs.objects_of("filp", cache, page)]
    return [file for file in objects if not file.is_free]


def _is_new(
    kernel: StoppedKernel,
    layout: Mapping[str, int],
    file: SlabObject,
    read_before: Callable[[int, int], bytes],
) -> bool:
    """Whether a file was opened since the guest was restored, when these members were others."""
    for name in _IDENTITY:
        place = file.start + layout[name]
        if kernel.read(place, 8) != read_before(place - kernel.direct_map, 8):
            return True
    return False
