"""The first line of each kind of report, as the kernel's format strings have it (6.1 unless noted)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class SplatKind(StrEnum):
    """Kinds of reports; `expect_splat` and `--expect-splat` take these values."""

    OOPS = "OOPS"
    BUG = "BUG"
    WARNING = "WARNING"
    PANIC = "PANIC"
    ATOMIC_SLEEP = "ATOMIC_SLEEP"
    SOFT_LOCKUP = "SOFT_LOCKUP"
    HARD_LOCKUP = "HARD_LOCKUP"
    RCU_STALL = "RCU_STALL"
    HUNG_TASK = "HUNG_TASK"
    WORKQUEUE_LOCKUP = "WORKQUEUE_LOCKUP"
    KASAN = "KASAN"
    KMSAN = "KMSAN"
    KCSAN = "KCSAN"
    KFENCE = "KFENCE"
    UBSAN = "UBSAN"
    #: lockdep and the kernel's other lock and preemption debugging
    LOCKDEP = "LOCKDEP"
    KMEMLEAK = "KMEMLEAK"
    #: SLUB's own checks: redzones, poison, double free
    SLAB_CORRUPTION = "SLAB_CORRUPTION"
    BAD_PAGE = "BAD_PAGE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    #: an init that returns with interrupts off or a preemption count
    INIT_IMBALANCE = "INIT_IMBALANCE"
    OTHER = "OTHER"


#: The kernel itself says that something does not go on: a hang, not a splat (design, decision 9).
HANG_KINDS = frozenset(
    (
        SplatKind.SOFT_LOCKUP,
        SplatKind.HARD_LOCKUP,
        SplatKind.RCU_STALL,
        SplatKind.HUNG_TASK,
        SplatKind.WORKQUEUE_LOCKUP,
    )
)


@dataclass(frozen=True)
class Header:
    """The line a report begins with.

    label: the title without the function. function, task, pid, cpu: what the line itself
    tells, "" or None where it does not.
    """

    kind: SplatKind
    label: str
    function: str = ""
    task: str = ""
    pid: int | None = None
    cpu: int | None = None


#: A symbol with its place, `%pS`: name+0xoffset/0xsize.
SYMBOL = r"(?P<function>[\w.$<>:&]{1,256})\+0x(?P<offset>[0-9a-f]{1,16})/0x(?P<size>[0-9a-f]{1,16})"
_TRAPS = (
    "divide[ _]error|overflow|bounds|invalid opcode|device not available|double fault|"
    "coprocessor segment overrun|invalid TSS|segment not present|stack segment|alignment check|"
    "simd exception|fpu exception|int3|debug|control protection fault|machine check|kernel stack overflow"
)

#: (kind, label, pattern). A label of "" takes the pattern's group `label`. The first that matches wins.
_TABLE: tuple[tuple[SplatKind, str, str], ...] = (
    (
        SplatKind.PANIC,
        "kernel stack is corrupted",  # kernel/panic.c, __stack_chk_fail
        rf"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: (?:{SYMBOL}|[0-9a-f]+)",
    ),
    (SplatKind.PANIC, "", r"Kernel panic - not syncing: ?(?P<label>.*)"),
    # sanitizers: mm/kasan/report.c, mm/kmsan/report.c, kernel/kcsan/report.c, mm/kfence/report.c, lib/ubsan.c
    (SplatKind.KASAN, "", rf"BUG: (?P<label>KASAN: (?:[\w-]+ ?){{1,6}}?)(?: in {SYMBOL}| on address| in |$)"),
    (SplatKind.KMSAN, "", rf"BUG: (?P<label>KMSAN: [\w-]+)(?: in {SYMBOL}| in |$)"),
    (SplatKind.KCSAN, "", rf"BUG: (?P<label>KCSAN: (?:assert: )?[\w-]+)(?: in {SYMBOL}| in |$)"),
    (SplatKind.KFENCE, "", rf"BUG: (?P<label>KFENCE: [\w -]{{1,40}}?)(?: in {SYMBOL}| in |$)"),
    (SplatKind.UBSAN, "", r"(?P<label>UBSAN: [\w-]+(?: behaviou?r)?)(?: in | at |$)"),
    # kernel/locking/lockdep.c, kernel/locking/rtmutex.c, kernel/locking/spinlock_debug.c
    (
        SplatKind.LOCKDEP,
        "",
        r"(?:WARNING|BUG|INFO): (?P<label>possible (?:recursive|circular|irq lock inversion|"
        r"irq-safe|console)[\w -]{0,60}|inconsistent lock state|inconsistent \{[^}]*\} usage|"
        r"suspicious RCU usage|bad unlock balance|bad contention|Invalid wait context|"
        r"Nested lock was not taken|held lock freed|still has locks held|"
        r"lock held (?:when returning to user space|at task exit time)[\w ]{0,20}|"
        r"trying to register non-static key|[\w-]{1,40} -> [\w-]{1,40} lock order detected|"
        r"MAX_LOCK\w+ too low|MAX_STACK_TRACE_ENTRIES too low|circular locking[\w ]{0,30}|"
        r"workqueue leaked lock|locking bug)",
    ),
    (
        SplatKind.LOCKDEP,
        "still has locks held",
        r"(?:WARNING|BUG): (?P<task>\S{1,32})/(?P<pid>\d{1,8}) still has locks held",
    ),
    # lib/smp_processor_id.c (DEBUG_PREEMPT), kernel/locking/spinlock_debug.c (DEBUG_SPINLOCK)
    (
        SplatKind.LOCKDEP,
        "",
        r"\bBUG: (?P<label>using \w{1,40}\(\) in preemptible)(?: \[[0-9a-f]{8}\])? code: "
        r"(?P<task>\S{1,32})/(?P<pid>\d{1,8})",
    ),
    (
        SplatKind.LOCKDEP,
        "",
        r"\bBUG: (?P<label>(?:spinlock|rwlock) (?:bad magic|recursion|wrong owner|wrong CPU|already unlocked|"
        r"uninitialized|trylock failure on UP)|rwlock-[\w]+)(?: on CPU#(?P<cpu>\d{1,5}))?",
    ),
    # kernel/sched/core.c
    (
        SplatKind.ATOMIC_SLEEP,
        "sleeping function called from invalid context",
        r"BUG: sleeping function called from invalid context",
    ),
    (
        SplatKind.ATOMIC_SLEEP,
        "scheduling while atomic",
        r"BUG: scheduling (?:while atomic|in a non-blocking section): "
        r"(?P<task>.{1,32}?)/(?P<pid>\d{1,8})/",
    ),
    (SplatKind.ATOMIC_SLEEP, "scheduling while atomic", r"BUG: scheduling while atomic"),
    (SplatKind.ATOMIC_SLEEP, "assuming atomic context", r"BUG: assuming atomic context at"),
    # kernel/watchdog.c, watchdog_hld.c
    (
        SplatKind.SOFT_LOCKUP,
        "soft lockup",
        r"BUG: soft lockup(?: - CPU#(?P<cpu>\d{1,5})(?: stuck for \d{1,8}s! "
        r"\[(?P<task>.{1,32}?):(?P<pid>\d{1,8})\])?)?",
    ),
    (SplatKind.SOFT_LOCKUP, "spinlock lockup", r"BUG: spinlock (?:lockup|cpu recursion)"),
    (
        SplatKind.HARD_LOCKUP,
        "hard lockup",
        r"[Ww]atchdog detected hard LOCKUP(?: on cpu (?P<cpu>\d{1,5}))?",
    ),
    (SplatKind.WORKQUEUE_LOCKUP, "workqueue lockup", r"BUG: workqueue lockup"),
    # kernel/rcu/tree_stall.h, tasks.h, tree_exp.h
    (
        SplatKind.RCU_STALL,
        "rcu stall",
        r"INFO: (?:rcu\w* )?(?:self-)?detected (?:expedited )?stalls? on|INFO: rcu_\w+ self-detected stall|"
        r"INFO: rcu_\w+ detected",
    ),
    # kernel/hung_task.c; "can't die" is linux-next's
    (
        SplatKind.HUNG_TASK,
        "task hung",
        r"INFO: task (?P<task>.{1,32}?):(?P<pid>\d{1,8}) blocked (?:\S{1,40} ){0,12}?for more than",
    ),
    (SplatKind.HUNG_TASK, "task can't die", r"INFO: task (?P<task>.{1,32}?):(?P<pid>\d{1,8}) can't die for"),
    # mm/kmemleak.c; "BUG: memory leak" is a user-space scanner's heading over the same records
    (
        SplatKind.KMEMLEAK,
        "memory leak",
        r"kmemleak: \d{1,9} new suspected memory leaks|BUG: memory leak|"
        r"^(?:kmemleak: )?unreferenced object 0x[0-9a-f]+ \(size \d",
    ),
    # lib/bug.c; "Kernel BUG" without CONFIG_DEBUG_BUGVERBOSE
    (SplatKind.BUG, "kernel BUG", rf"[kK]ernel BUG at (?:{SYMBOL}|\S{{1,200}}:\d{{1,7}})"),
    # kernel/panic.c, __warn; from 6.19 the function comes before the CPU
    (
        SplatKind.WARNING,
        "WARNING",
        rf"WARNING: CPU: (?P<cpu>\d{{1,5}}) PID: (?P<pid>\d{{1,8}}) at (?:\S{{1,200}} )?(?:{SYMBOL})?",
    ),
    (
        SplatKind.WARNING,
        "WARNING",
        rf"WARNING: (?:\S{{1,200}}:\d{{1,7}} )?at (?:(?:{SYMBOL}(?: \[\w+\])?|0x[0-9a-f]+), "
        r"CPU#(?P<cpu>\d{1,5})"
        r"|\S{1,200}:\d{1,7})",
    ),
    # arch/x86/kernel/unwind_orc.c, unwind_frame.c
    (
        SplatKind.WARNING,
        "",
        r"WARNING: (?P<label>kernel stack (?:regs|frame pointer) (?=at )|can't dereference)",
    ),
    # arch/x86/mm/fault.c (two spellings: since 5.1, and before), arch/arm64/mm/fault.c
    (
        SplatKind.OOPS,
        "NULL pointer dereference",
        r"BUG: (?:unable to handle )?kernel NULL pointer dereference|Unable to handle kernel NULL pointer",
    ),
    (
        SplatKind.OOPS,
        "page fault",
        r"BUG: unable to handle (?:page fault|kernel (?:paging request|access))|"
        r"Unable to handle kernel (?:paging request|access|write|read|execut)|"
        r"Corrupted page table at address",
    ),
    # arch/x86/kernel/traps.c
    (
        SplatKind.OOPS,
        "general protection fault",
        r"general protection (?:fault|maybe)(?:, (?:probably|maybe) for|: ?[0-9a-f]{4} ?\[#)",
    ),
    (SplatKind.OOPS, "stack guard page was hit", r"BUG: (?:\S{1,40} )?stack guard page was hit"),
    (SplatKind.OOPS, "double fault", r"PANIC: double fault"),
    (SplatKind.OOPS, "", rf"(?P<label>{_TRAPS}): ?[0-9a-f]{{1,8}} ?\[#\d"),
    (
        SplatKind.OOPS,
        "",
        r"Internal error: (?P<label>[\w ,/-]{1,60}?):? [0-9a-f]{1,16} \[#|Unhandled fault: ",
    ),
    (SplatKind.OOPS, "Oops", r"Oops(?: ?-[\w ]{1,40})?: ?(?:[0-9a-f]{1,16} ?)?\[#\d"),
    # whatever else calls itself a BUG: mm/memory.c, mm/page_alloc.c, mm/slub.c, fs, kernel/workqueue.c
    (SplatKind.SLAB_CORRUPTION, "", r"BUG (?P<label>[\w-]{1,64} ?\([^)]{0,60}\): .{1,60})"),
    (SplatKind.SLAB_CORRUPTION, "", r"BUG: (?P<label>Object already free)"),
    (SplatKind.BAD_PAGE, "bad page", r"BUG: Bad (?:page|rss-counter)[\w ]{0,20}"),
    (SplatKind.OUT_OF_MEMORY, "out of memory", r"(?:Out of memory|Memory cgroup out of memory): Kill"),
    (SplatKind.OTHER, "", r"\bBUG: (?P<label>[A-Za-z_].{0,80})"),
    (SplatKind.OTHER, "VFS: busy inodes after unmount", r"VFS: Busy inodes after unmount"),
    # init/main.c: the message of a WARN, which tells more than its header
    (
        SplatKind.INIT_IMBALANCE,
        "initcall imbalance",
        rf"initcall (?:{SYMBOL}|.{{1,100}}) ?(?:\[\w+\] )?returned with "
        r"(?:preemption imbalance|disabled interrupts)",
    ),
)

_PATTERNS = tuple((kind, label, re.compile(pattern)) for kind, label, pattern in _TABLE)
#: Every pattern above needs one of these words: a cheap look before 30 patterns are tried.
_TRIGGER = re.compile(
    r"BUG|WARNING:|[Oo]ut of memory|INFO:|panic|PANIC|UBSAN|Oops|LOCKUP|kmemleak|unreferenced|fault|error|"
    r"\[#\d|Unable|VFS:|initcall|page table"
)
#: Longest part of a line that is looked at: keeps every search linear in the log's size.
_HEAD = 400
#: What ends a report and names it again.
_NOT_A_HEADER = re.compile(r"---\[ end |\bsysrq: ")

_VARYING = (
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "ADDR"),
    (re.compile(r"\b[0-9a-f]{8,16}\b"), "ADDR"),
    (re.compile(r"\d+"), "N"),
)


def header_of(text: str) -> Header | None:
    """The header that a record's text is, None when no report begins here."""
    text = text[:_HEAD]
    if not _TRIGGER.search(text) or _NOT_A_HEADER.search(text):
        return None
    for kind, label, pattern in _PATTERNS:
        match = pattern.search(text)
        if match:
            return _header(kind, label, match)
    return None


def stable(text: str) -> str:
    """The text with addresses and numbers, which differ from run to run, replaced by ADDR and N."""
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return " ".join(text.split())


def _header(kind: SplatKind, label: str, match: re.Match[str]) -> Header:
    groups = match.groupdict()
    found = (groups.get("label") or "").strip(" .!:")
    if kind is SplatKind.PANIC:
        label = f"kernel panic: {label or stable(found)}"
    return Header(
        kind=kind,
        label=label or stable(found) or kind.value,
        function=groups.get("function") or "",
        task=groups.get("task") or "",
        pid=int(groups["pid"]) if groups.get("pid") else None,
        cpu=int(groups["cpu"]) if groups.get("cpu") else None,
    )
