"""Pointers into a module that is gone which the kernel keeps and follows no more: data with reasons."""

from __future__ import annotations

from dataclasses import dataclass

#: Variable -> why it may point into memory that was a module's.
KNOWN_VARIABLES = {
    "mod_tree": "the lowest and highest address modules ever had (kernel/module/main.c)",
    "cur_orc_table": "where the unwinder's table of the last module that was loaded is sorted (unwind_orc.c)",
    "cur_orc_ip_table": "as cur_orc_table",
    "exec_summary_regs": "the registers at the last oops (arch/x86/kernel/dumpstack.c)",
    "init_stack": "a stack: old values as well as new ones",
    "init_thread_union": "a stack",
    "irq_stack_backing_store": "a stack, of each CPU",
    "exception_stacks": "stacks, of each CPU",
    "entry_stack_storage": "a stack, of each CPU",
    "cpu_tss_rw": "a stack lies in it",
    "kcore_modules": "where the range of modules begins, and without KASLR the first module (/proc/kcore)",
    "kcore_vmalloc": "where vmalloc's range begins (/proc/kcore)",
    "stack_trace": "lockdep's stacks of where locks were taken (kernel/locking/lockdep.c)",
    "mem_pool": "what kmemleak notes of memory (mm/kmemleak.c)",
    "obj_static_pool": "what DEBUG_OBJECTS notes of objects (lib/debugobjects.c)",
}


@dataclass(frozen=True)
class DeadObject:
    """An object that the allocator has not got back, and that the kernel uses no more, by one of its members.

    structure: name of the structure
    member: the member that holds the pointer, "" for any
    sign: the member that tells
    size: bytes of that member
    values: what it holds then, unsigned
    reason: who keeps it, and why it is not followed
    """

    structure: str
    member: str
    sign: str
    size: int
    values: range
    reason: str


#: A count of users to which INT_MIN was added, so that there will be no new ones.
_NO_NEW_USERS = range(0x80000000, 0x80010000)
_EINVAL = (1 << 64) - 22
DEAD_OBJECTS = (
    DeadObject(
        *("kernfs_node", "priv", "active", 4, _NO_NEW_USERS),
        "a name of sysfs that was removed; the cache of names holds it (KN_DEACTIVATED_BIAS, fs/kernfs)",
    ),
    DeadObject(
        *("proc_dir_entry", "", "in_use", 4, _NO_NEW_USERS),
        "a name of /proc that was removed; the cache of names holds it (BIAS, fs/proc/inode.c)",
    ),
    DeadObject(
        *("ctl_table_header", "", "unregistering", 8, range(_EINVAL, _EINVAL + 1)),
        "a table of sysctl that was unregistered and waits for RCU (fs/proc/proc_sysctl.c)",
    ),
)


@dataclass(frozen=True)
class HistoryMember:
    """A member that keeps what was once called, and is never called again.

    structure: name of the structure
    member: the member
    beside: a pointer in the same structure, by which it is recognised
    cache: the slab cache that this one points to
    reason: what it is kept for
    """

    structure: str
    member: str
    beside: str
    cache: str
    reason: str


HISTORY_MEMBERS = (
    HistoryMember(
        *("worker", "last_func", "task", "task_struct"),
        "what a kworker did last (kernel/workqueue_internal.h)",
    ),
)
#: An object that begins with a pointer to this text holds the addresses of a loaded module's sections, of its
#: init too, which is gone: numbers that sysfs shows (kernel/module/sysfs.c: module_sect_attrs.grp.name).
SECTIONS_TEXT = b"sections\0"
#: Caches of structures with the bounds of areas of addresses; since 6.13 execmem has them in maple trees.
#: kmemleak notes what memory there is, who asked for it, and which parts it looks at (mm/kmemleak.c, 6.1);
#: DEBUG_OBJECTS keeps what it noted of an object until the note is used again (lib/debugobjects.c).
AREA_CACHES = frozenset(
    {"vmap_area", "maple_node", "kmemleak_object", "kmemleak_scan_area", "debug_objects_cache"}
)
#: How sections are called whose addresses the kernel keeps for its unwinder, or with the module: about code.
TABLE_SECTIONS = (
    ".orc_",
    ".note",
    ".altinstr",
    ".retpoline_",
    ".return_",
    ".call_sites",
    ".ibt",
    ".smp_locks",
)
