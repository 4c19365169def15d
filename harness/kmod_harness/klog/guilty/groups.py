"""The places of the kernel whose functions work for others, in groups, as function-places.xz names them."""

from __future__ import annotations

import re

#: They report, check and trace, and are how an exception comes in; locks, strings, atomic operations.
REPORTS = re.compile(
    r"lib/(?:dump_stack|bug|ubsan|debugobjects|fault-inject\w*|fortify\w*|string\w*|refcount|list_debug|"
    r"smp_processor_id|stackdepot|ref_tracker|nmi_backtrace|usercopy|iov_iter|vsprintf|ctype|hexdump|"
    r"strn?\w*_user|once|error-inject|atomic64|rbtree|dec_and_lock|find_bit|kstrtox|cmdline|llist)\.c|lib/crc|"
    r"mm/(?:kasan|kmsan|kfence)$|mm/(?:kmemleak|debug\w*|usercopy|maccess|fail\w*)\.c|"
    r"kernel/kcsan$|kernel/locking|kernel/trace|"
    r"kernel/(?:panic|stacktrace|kcov|context_tracking|extable|kallsyms|jump_label|static_call\w*|softirq|smp|up|"
    r"stop_machine|watchdog\w*|hung_task)\.c|"
    r"arch/\w+/(?:entry|lib|include)$|"
    r"arch/\w+/kernel/(?:traps|stacktrace|unwind\w*|dumpstack\w*|process\w*|irq\w*|entry\w*|apic|nmi\w*|smp\w*|"
    r"paravirt\w*|tsc|idt|alternative|ftrace\w*|head\w*|return_address|callthunks|debug-monitors|syscall)"
    r"(?:\.[cS])?$|"
    r"arch/\w+/mm/(?:fault|extable|physaddr|kasan\w*|context|tlb|proc)(?:\.[cS])?$|"
    r"include/asm-generic|include/trace|include/linux/atomic|"
    r"include/linux/(?:kasan|kcsan|kmsan|printk|bug|debugobjects|instrumented|uaccess|uio|string|fortify-string|"
    r"list\w*|rculist\w*|refcount|kref|bitops|bitmap|find|spinlock\w*|rwlock\w*|mutex|rwsem|rcu\w*|srcu\w*|"
    r"lockdep\w*|seqlock\w*|percpu\w*|semaphore|bit_spinlock|local_lock\w*|thread_info|preempt|irqflags|"
    r"bottom_half|jump_label|tracepoint|ww_mutex|rbtree\w*|interval_tree\w*|minmax|overflow|kernel|dev_printk|"
    r"ratelimit|compiler|kcov|ftrace|context_tracking)\.h"
)
LIBRARY = re.compile(
    r"lib(?:/|$)|virt/lib|include/linux/(?:xarray|idr|radix-tree|rhashtable|kobject|klist|kfifo|sbitmap)\.h"
)
#: They wait, and run work later.
SCHEDULER = re.compile(r"kernel/(?:sched|time)(?:/|$)")
WAITS = re.compile(
    r"kernel/(?:sched|time|rcu)(?:/|$)|"
    r"kernel/(?:workqueue|kthread|smpboot|notifier|irq_work|task_work|async)\.c|kernel/irq$|"
    r"include/linux/(?:wait\w*|sched|completion|swait|timer|workqueue|hrtimer|tick|kthread|sched/\w+)\.h"
)
#: Whose locks stand for work items and timers (kernel/workqueue.c: lockdep_map), and for grace periods.
WORK = re.compile(r"kernel/workqueue|kernel/rcu/|include/linux/(?:timer|workqueue)\.h")
#: Allocators.
MEMORY = re.compile(
    r"mm/(?:sl[aou]b\w*|page_alloc|util|vmalloc|percpu[\w-]*|mempool|dmapool|folio-compat|page_frag\w*|show_mem|"
    r"oom_kill|page_owner|page_ext|page_counter|page_table_check|swap|list_lru|memcontrol\w*|mempolicy|highmem)"
    r"\.[ch]|include/linux/(?:slab|gfp|vmalloc|page-flags|page_ref|mm|mm_inline|highmem\w*|memcontrol)\.h"
)
#: Pages have assertions of their own, about what their own parts do.
PAGES = re.compile(r"mm/(?:page_alloc|vmalloc|memcontrol\w*|mempolicy|swap)\.c")
#: They call nothing but their own parts: who is called by one of them is one.
LEAVES = re.compile(
    r"kernel/locking|mm/(?:kasan|kmsan|kfence)$|mm/(?:usercopy|sl[aou]b\w*|page_alloc|util|vmalloc|percpu[\w-]*)\.[ch]|"
    r"lib/(?:string\w*|refcount|list_debug|usercopy|iov_iter|vsprintf|rbtree)\.c|lib/crc|"
    r"include/linux/(?:spinlock\w*|rwlock\w*|mutex|rwsem|string|fortify-string|list\w*|rculist\w*|refcount|slab|gfp|"
    r"kasan\w*|instrumented|atomic/\S+|uaccess|uio)\.h|include/asm-generic"
)
#: Inodes, directory entries, buffers and pages of every file system.
CACHES = re.compile(
    r"fs/(?:inode|dcache|buffer|file_table|namespace)\.c|mm/(?:filemap|truncate|page-writeback|readahead)\.c|"
    r"include/linux/(?:pagemap|buffer_head)\.h"
)
BUFFERS = re.compile(r"net/core/(?:skbuff|datagram)\.c|include/linux/skbuff\.h")
#: What every driver's registration and removal goes through.
DEVICES = re.compile(r"drivers/base|fs/sysfs")
PRINTK = re.compile(r"kernel/printk")

_KEPT = (REPORTS, LIBRARY, WAITS, MEMORY, CACHES, BUFFERS, DEVICES, PRINTK)
_TYPICAL = (REPORTS, LIBRARY, WAITS, MEMORY)


def is_kept(place: str) -> bool:
    """Return whether the list of places names all functions of this one."""
    return any(group.match(place) for group in _KEPT)


def is_typical(place: str) -> bool:
    """Return whether the words of the names there tell machinery from others."""
    return any(group.match(place) for group in _TYPICAL)
