"""The table of report headers: a row for each spelling of a report's first line.

A new kind of report is a value in kinds.py, a row here, and a log in tests/unit/klog/cases/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from kmod_harness.klog.kinds import SplatKind as K

#: A symbol with its place, `%pS`: name+0xoffset/0xsize.
SYMBOL = r"(?P<function>[\w.$<>:&]{1,256})\+0x(?P<offset>[0-9a-f]{1,16})/0x(?P<size>[0-9a-f]{1,16})"
_CPU = r"(?P<cpu>\d{1,5})"
_PID = r"(?P<pid>\d{1,8})"
_TASK = r"(?P<task>.{1,32}?)"
#: A source file with its line, no address of a web page.
_SOURCE = r"(?!\S{0,20}://)\S{1,1000}?\.\w{1,4}:\d{1,7}"
#: A WARN of lockdep's own, told as a WARN is and about locks.
LOCKING_BUG = "locking bug"
_TRAPS = (
    "divide[ _]error|overflow|bounds|invalid opcode|device not available|double fault|"
    "coprocessor segment overrun|invalid TSS|segment not present|stack segment|alignment check|"
    "simd exception|fpu exception|int3|debug|control protection fault|machine check|kernel stack overflow"
)


@dataclass(frozen=True)
class Row:
    """A spelling of a report's first line.

    label: the title without the function; "" takes the pattern's group `label`.
    files: the files of the kernel that print it, in Linux 6.1; with a blank between them.
    words: each line that the pattern matches holds one of them.
    pattern: searched in the line; its groups `function`, `task`, `pid` and `cpu` are what the line tells.
    is_alone: whether the report is this line, and may stand within another one.
    needs_trace: whether others print such a line too: a report has a stack below it.
    releases: how the spelling differs between releases; "" where no difference is known.
    """

    kind: K
    label: str
    files: str
    words: tuple[str, ...]
    pattern: str
    releases: str = ""
    needs_trace: bool = False
    is_alone: bool = False

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The compiled pattern; compiled when a line first needs it, since most logs hold no report."""
        return re.compile(self.pattern)


#: The first row that matches a line wins.
ROWS = (
    Row(K.PANIC, "kernel stack is corrupted", "kernel/panic.c", ("stack-protector",),
        r"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: "
        rf"(?:{SYMBOL}|[0-9a-f]+)"),
    Row(K.PANIC, "", "kernel/panic.c", ("Kernel panic",),
        r"Kernel panic - not syncing: ?(?P<label>.*)"),
    # --- sanitizers
    Row(K.KASAN, "", "mm/kasan/report.c", ("KASAN",),
        rf"BUG: (?P<label>KASAN: (?:[\w-]+ ?){{1,6}}?)(?: in {SYMBOL}| on address| in |$)"),
    Row(K.KMSAN, "", "mm/kmsan/report.c", ("KMSAN",),
        rf"BUG: (?P<label>KMSAN: [\w-]+)(?: in {SYMBOL}| in |$)"),
    Row(K.KCSAN, "", "kernel/kcsan/report.c", ("KCSAN",),
        rf"BUG: (?P<label>KCSAN: (?:assert: )?[\w-]+)(?: in {SYMBOL}| in |$)"),
    Row(K.KFENCE, "", "mm/kfence/report.c", ("KFENCE",),
        rf"BUG: (?P<label>KFENCE: [\w -]{{1,40}}?)(?: in {SYMBOL}| in |$)"),
    Row(K.UBSAN, "", "lib/ubsan.c", ("UBSAN",),
        r"(?P<label>UBSAN: [\w-]+(?: behaviou?r)?)(?: in | at |$)",
        "6.1; before 5.7 `Undefined behaviour`"),
    # --- locks
    Row(K.LOCKDEP, "", "kernel/locking/lockdep.c kernel/workqueue.c", ("WARNING: ", "BUG: ", "INFO: "),
        r"(?:WARNING|BUG|INFO): (?P<label>possible (?:recursive|circular|irq lock inversion|"
        r"irq-safe|console)[\w -]{0,60}|inconsistent lock state|inconsistent \{[^}]*\} usage|"
        r"suspicious RCU usage|bad unlock balance|bad contention|Invalid wait context|"
        r"Nested lock was not taken|held lock freed|still has locks held|"
        r"lock held (?:when returning to user space|at task exit time)[\w ]{0,20}|"
        r"trying to register non-static key|[\w-]{1,40} -> [\w-]{1,40} lock order detected|"
        r"MAX_LOCK\w+ too low|MAX_STACK_TRACE_ENTRIES too low|chain_key collision|"
        r"circular locking[\w ]{0,30}|"
        r"workqueue leaked lock|locking bug)",
        "6.1; earlier ones say BUG or INFO where it says WARNING"),
    Row(K.LOCKDEP, "still has locks held", "kernel/locking/lockdep.c",
        ("still has locks held",),
        rf"(?:WARNING|BUG): (?P<task>\S{{1,32}})/{_PID} still has locks held"),
    # CONFIG_DEBUG_PREEMPT
    Row(K.LOCKDEP, "", "lib/smp_processor_id.c", ("in preemptible",),
        r"\bBUG: (?P<label>using \w{1,40}\(\) in preemptible)(?: \[[0-9a-f]{8}\])? code: "
        rf"(?P<task>\S{{1,32}})/{_PID}"),
    # CONFIG_DEBUG_SPINLOCK
    Row(K.LOCKDEP, "", "kernel/locking/spinlock_debug.c", ("BUG: spinlock", "BUG: rwlock"),
        r"\bBUG: (?P<label>(?:spinlock|rwlock) (?:bad magic|recursion|wrong owner|wrong CPU|already unlocked|"
        rf"uninitialized|trylock failure on UP)|rwlock-[\w]+)(?: on CPU#{_CPU})?"),
    # --- contexts
    Row(K.ATOMIC_SLEEP, "sleeping function called from invalid context", "kernel/sched/core.c",
        ("sleeping function",),
        r"BUG: sleeping function called from invalid context"),
    Row(K.ATOMIC_SLEEP, "scheduling while atomic", "kernel/sched/core.c", ("BUG: scheduling",),
        rf"BUG: scheduling (?:while atomic|in a non-blocking section): {_TASK}/{_PID}/"),
    Row(K.ATOMIC_SLEEP, "scheduling while atomic", "kernel/sched/core.c", ("BUG: scheduling",),
        r"BUG: scheduling while atomic",
        "a line that was cut"),
    Row(K.ATOMIC_SLEEP, "assuming another context", "kernel/sched/core.c", ("BUG: assuming",),
        r"BUG: assuming (?:atomic|non migratable) context at"),
    # --- what does not go on
    Row(K.SOFT_LOCKUP, "soft lockup", "kernel/watchdog.c", ("soft lockup",),
        rf"BUG: soft lockup(?: - CPU#{_CPU}(?: stuck for \d{{1,8}}s! \[{_TASK}:{_PID}\])?)?"),
    Row(K.SOFT_LOCKUP, "spinlock lockup", "kernel/locking/spinlock_debug.c", ("BUG: spinlock",),
        r"BUG: spinlock (?:lockup|cpu recursion)",
        "6.1: `cpu recursion`; earlier ones: `lockup suspected`"),
    Row(K.HARD_LOCKUP, "hard lockup", "kernel/watchdog_hld.c", ("hard LOCKUP",),
        rf"[Ww]atchdog detected hard LOCKUP(?: on cpu {_CPU})?"),
    Row(K.WORKQUEUE_LOCKUP, "workqueue lockup", "kernel/workqueue.c", ("BUG: workqueue lockup",),
        r"BUG: workqueue lockup"),
    Row(K.RCU_STALL, "rcu stall", "kernel/rcu/tree_stall.h kernel/rcu/tree_exp.h kernel/rcu/tasks.h",
        ("detected",),
        r"INFO: (?:rcu\w* )?(?:self-)?detected (?:expedited )?stalls?\b"),
    Row(K.HUNG_TASK, "task hung", "kernel/hung_task.c", ("blocked",),
        rf"INFO: task {_TASK}:{_PID} blocked (?:\S{{1,40}} ){{0,12}}?for more than \d{{1,9}} seconds"),
    Row(K.HUNG_TASK, "task can't die", "kernel/hung_task.c", ("can't die",),
        rf"INFO: task {_TASK}:{_PID} can't die for",
        "linux-next"),
    # `BUG: memory leak` is the heading of a user-space scanner over the same records
    Row(K.KMEMLEAK, "memory leak", "mm/kmemleak.c",
        ("suspected memory leaks", "BUG: memory leak", "unreferenced object"),
        r"kmemleak: \d{1,9} new suspected memory leaks|BUG: memory leak|"
        r"(?:kmemleak: )?unreferenced object(?: \(phys\))? 0x[0-9a-f]{8,16} \(size \d{1,12}\)"),
    # of one that was allocated before kmemleak kept call traces there is no trace (set_track_prepare)
    Row(K.KMEMLEAK, "per-CPU memory leak", "mm/kmemleak.c", ("unreferenced object (percpu)",),
        r"(?:kmemleak: )?unreferenced object \(percpu\) 0x[0-9a-f]{8,16} \(size \d{1,12}\)",
        "7.2: the kind of memory is named; 6.12 tells none, and 6.1 does not look at per-CPU memory"),
    # --- assertions
    # `Kernel BUG` without CONFIG_DEBUG_BUGVERBOSE
    Row(K.BUG, "kernel BUG", "lib/bug.c", ("ernel BUG at",),
        rf"[kK]ernel BUG at (?:{SYMBOL}|{_SOURCE}!)"),
    Row(K.LOCKDEP, LOCKING_BUG, "kernel/locking/lockdep.c", ("WARNING: ",),
        rf"WARNING: (?:CPU: {_CPU} PID: {_PID} at |\[.{{1,400}}?\] )?(?:\S{{0,400}}/)?"
        r"kernel/locking/lockdep\.c:\d",
        "a WARN of lockdep's own, as DEBUG_LOCKS_WARN_ON()"),
    Row(K.WARNING, "WARNING", "kernel/panic.c", ("WARNING: CPU: ",),
        rf"WARNING: CPU: {_CPU} PID: {_PID} at (?={_SOURCE}\b|[\w.$<>:&]{{1,256}}\+0x|0x[0-9a-f])"
        rf"(?:{_SOURCE} )?(?:{SYMBOL})?"),
    Row(K.WARNING, "WARNING", "kernel/panic.c", ("WARNING: ",),
        rf"WARNING: (?:\[.{{1,400}}?\] )?(?:{_SOURCE} )?at "
        rf"(?:(?:{SYMBOL}(?: \[\w+\])?|[\w.$]{{1,256}}|0x[0-9a-f]+), CPU#{_CPU}"
        rf"|{_SOURCE})",
        "from 6.19 on: the function comes before the CPU, the condition, if kept, before the file"),
    Row(K.BUG, "Rust panic", "rust/kernel/lib.rs", ("rust_kernel: panicked",),
        r"rust_kernel: panicked at "),
    Row(K.WARNING, "", "arch/x86/kernel/unwind_frame.c arch/x86/kernel/unwind_orc.c",
        ("WARNING: kernel stack", "WARNING: can't dereference", "WARNING: stack recursion"),
        r"WARNING: (?P<label>kernel stack (?:regs|frame pointer) (?=at )|can't dereference|"
        r"stack recursion on stack type)"),
    # --- stopped by the processor
    Row(K.OOPS, "NULL pointer dereference", "arch/x86/mm/fault.c arch/arm64/mm/fault.c", ("NULL pointer",),
        r"BUG: (?:[uU]nable to handle )?[kK]ernel NULL pointer dereference|"
        r"Unable to handle kernel NULL pointer",
        "6.1; before 5.1 with `unable to handle`; powerpc with `Kernel`"),
    Row(K.OOPS, "page fault", "arch/x86/mm/fault.c arch/arm64/mm/fault.c",
        ("nable to handle", "Corrupted page table"),
        r"BUG: [uU]nable to handle (?:page fault|"
        r"kernel (?:paging request|(?:data )?access|instruction fetch))|"
        r"Unable to handle kernel (?:paging request|(?:data )?access|write|read|execut|pointer dereference)|"
        r".{1,16}: Corrupted page table at address",
        "6.1; before 5.1 `kernel paging request`"),
    Row(K.OOPS, "general protection fault", "arch/x86/kernel/traps.c", ("general protection",),
        r"general protection (?:fault|maybe)"
        r"(?:, (?:probably|maybe|kernel)\b| for (?:non-canonical )?address|: ?[0-9a-f]{4} ?\[#)"),
    Row(K.OOPS, "stack guard page was hit", "arch/x86/kernel/traps.c", ("stack guard page",),
        r"BUG: (?:\S{1,40} )?stack guard page was hit"),
    Row(K.OOPS, "double fault", "arch/x86/kernel/traps.c", ("PANIC: double",),
        r"PANIC: double fault"),
    Row(K.OOPS, "", "arch/x86/kernel/dumpstack.c", ("[#",),
        rf"(?P<label>{_TRAPS}): ?[0-9a-f]{{4,8}} ?\[#[1-9]"),
    Row(K.OOPS, "", "arch/s390/kernel/dumpstack.c", ("ilc:",),
        r"(?P<label>[a-z][a-z /-]{3,60}): [0-9a-f]{4} ilc:\d \[#[1-9]"),
    Row(K.OOPS, "", "arch/arm64/kernel/traps.c", ("Internal error: ", "Unhandled fault: "),
        r"Internal error: (?P<label>[\w ,/-]{1,60}?):? [0-9a-f]{1,16} \[#|Unhandled fault: "),
    Row(K.OOPS, "alignment trap", "arch/arm/mm/alignment.c", ("Alignment trap: ",),
        r"Alignment trap: not handling instruction"),
    Row(K.OOPS, "Oops", "arch/x86/kernel/dumpstack.c", ("Oops",),
        r"Oops(?: ?-[\w ]{1,40}: ?|: ?[\w ,-]{0,60}?)(?:[0-9a-f]{1,16}) ?\[#[1-9]|Oops \[#[1-9]",
        "`Oops [#1]` on riscv"),
    # --- memory
    Row(K.SLAB_CORRUPTION, "", "mm/slub.c", ("BUG ",),
        r"BUG (?P<label>.{1,100}? ?\((?:Not tainted|Tainted: ?[^)]{0,60}|[A-Z ]{1,30})\): .{1,60})"),
    Row(K.SLAB_CORRUPTION, "", "mm/slub.c", ("already free",),
        r"BUG: (?P<label>Object already free)"),
    Row(K.BAD_PAGE, "bad page", "mm/page_alloc.c mm/memory.c mm/filemap.c kernel/fork.c", ("BUG: Bad",),
        r"BUG: Bad (?:page|rss-counter)[\w ]{0,20}"),
    Row(K.OUT_OF_MEMORY, "out of memory", "mm/oom_kill.c", ("ut of memory",),
        r"(?:Out of memory|Memory cgroup out of memory)(?: \(\w{1,40}\))?: Kill(?:ed)? process \d"),
    # --- whatever else calls itself a BUG
    Row(K.OTHER, "", "kernel/fork.c lib/mempool.c mm/memory.c kernel/trace/trace_events_user.c",
        ("BUG: ",),
        r"BUG: (?P<label>(?:non-zero pgtables_bytes|mempool element poison|arch topology borken|Bad page map|"
        r"key \S{1,20} has not been registered|looking up invalid subclass|Bad current_user_events|"
        r"Auto-delete engaged|invalid or fatal FRED event|workqueue leaked).{0,60})"),
    # a driver's prose may begin so too: the kernel's has a trace (report_extents.py)
    Row(K.OTHER, "", "fs/dcache.c", ("BUG: ",),
        r"\bBUG: (?P<label>[A-Za-z_].{0,80})", needs_trace=True),
    # --- what has neither such a word nor a stack
    Row(K.OTHER, "softirq returned with another preempt_count", "kernel/softirq.c", ("huh, entered softirq",),
        r"(?:softirq: )?huh, entered softirq \d", is_alone=True),
    Row(K.OTHER, "tasklet killed in an interrupt", "kernel/softirq.c", ("Attempt to kill tasklet",),
        r"(?:softirq: )?Attempt to kill tasklet from interrupt", is_alone=True),
    Row(K.OTHER, "nonexistent resource freed", "kernel/resource.c", ("free nonexistent resource",),
        r"(?:resource: )?Trying to free nonexistent resource <", is_alone=True),
    Row(K.OTHER, "DMA pool destroyed while in use", "mm/dmapool.c", ("dma_pool_destroy ",),
        r"(?:[^\s:]{1,64} [^\s:]{1,64}(?:: |:\S{1,40}: ))?dma_pool_destroy .{1,80} busy$", is_alone=True),
    Row(K.OTHER, "debugfs name already there", "fs/debugfs/inode.c", ("debugfs: ",),
        r"debugfs: (?:(?:Directory|File) '.{1,255}' (?:with parent|in directory) '.{1,255}' already present!|"
        r"'.{1,255}' already exists in '.{1,255}')",
        "6.1; 7.2 `already exists in`", is_alone=True),
    Row(K.OTHER, "", "kernel/module/main.c", ("suspiciously returned",),
        r"(?:do_init_module: ')?(?P<function>[\w-]{1,64})(?:'->|: )"
        r"(?P<label>init suspiciously returned -?\d{1,10})",
        "6.1; 7.2 without a stack"),
    Row(K.OTHER, "", "net/core/dev.c", ("unregister_netdevice: waiting",),
        r"(?P<label>unregister_netdevice: waiting for \S{1,16} to become free)", is_alone=True),
    Row(K.OTHER, "VFS: close with a file count of zero", "fs/open.c", ("VFS: Close: file count",),
        r"VFS: Close: file count is (?:zero|0)",
        "a line of its own before 6.6, then the message of a WARN"),
    Row(K.OTHER, "socket released while in use", "net/ipv4/af_inet.c", ("Attempt to release ",),
        r"(?:IPv4: |TCP: )?Attempt to release (?:alive inet|TCP) socket", is_alone=True),
    Row(K.OTHER, "interrupt line disabled", "kernel/irq/spurious.c", ("Disabling IRQ #",),
        r"(?:genirq: )?Disabling IRQ #\d", is_alone=True),
    Row(K.OTHER, "unexpected interrupt vector", "arch/x86/kernel/irq.c", ("unexpected IRQ trap",),
        r"unexpected IRQ trap at vector", is_alone=True),
    Row(K.OTHER, "recursive fault", "kernel/exit.c", ("Fixing recursive fault",),
        r"Fixing recursive fault but reboot is needed", is_alone=True),
    Row(K.OTHER, "machine check", "arch/x86/kernel/cpu/mce/core.c", ("[Hardware Error]: ",),
        r"(?:mce: )?\[Hardware Error\]: (?:CPU \d|Machine check)", is_alone=True),
    Row(K.OTHER, "VFS: busy inodes after unmount", "fs/super.c", ("VFS: Busy inodes",),
        r"VFS: Busy inodes after unmount"),
    # the message of a WARN, which tells more than its header
    Row(K.INIT_IMBALANCE, "initcall imbalance", "init/main.c", ("initcall",),
        rf"initcall (?:{SYMBOL}|.{{1,100}}) ?(?:\[\w+\] )?returned with "
        r"(?:preemption imbalance|disabled interrupts)"),
)  # fmt: skip
