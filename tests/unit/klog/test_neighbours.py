"""Reports that stand beside one another in the log: what belongs to which, and which was the cause."""

from __future__ import annotations

from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import find_splats


def test_what_lockdep_says_of_the_printing_of_a_report_comes_behind_that_report() -> None:
    """SLUB prints with a cache's list_lock held: lockdep's complaint is no trouble of its own."""
    log = """\
<4>[   20.566240] ======================================================
<4>[   20.566270] WARNING: possible circular locking dependency detected
<4>[   20.566866] 6.1.192-kmod-harness-debug #1 Tainted: G           O
<4>[   20.567141] ------------------------------------------------------
<4>[   20.567168] sh/41 is trying to acquire lock:
<4>[   20.567257] ffffffff92b06f00 (console_owner){....}-{0:0}, at: console_emit_next_record+0x336/0x7e0
<4>[   20.573974]
<4>[   20.573974] but task is already holding lock:
<4>[   20.574007] ffff888003a9ce18 (&n->list_lock){-...}-{2:2}, at: free_to_partial_list+0x51/0x570
<4>[   20.574202]
<4>[   20.574202] which lock already depends on the new lock.
<4>[   20.585276]  do_syscall_64+0x2b/0x50
<4>[   20.607145]  </TASK>
<3>[   20.654000] =============================================================================
<3>[   20.654070] BUG mine_cache (Tainted: G           O      ): Right Redzone overwritten
<3>[   20.654436] -----------------------------------------------------------------------------
<3>[   20.655236] Allocated in mine_write+0x36/0x70 [mine] age=0 cpu=0 pid=41
"""
    kinds = [splat.kind for splat in find_splats(parse_console(log))]
    assert kinds == [SplatKind.SLAB_CORRUPTION, SplatKind.LOCKDEP]


def test_the_stack_of_an_out_of_memory_kill_stands_above_it() -> None:
    """The line that kills is the report's last; what follows may be the next one."""
    log = "".join(
        f"<4>[    4.1] {task} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
        f"<4>[    4.2] CPU: 0 PID: {pid} Comm: {task} Not tainted 6.1.192 #1\n"
        "<4>[    4.3] Call Trace:\n<4>[    4.3]  <TASK>\n<4>[    4.3]  dump_header+0x4a/0x1f0\n"
        f"<4>[    4.3]  out_of_memory+0x2a/0x60\n<4>[    4.3]  {taker}+0x35/0x79 [mine]\n"
        "<4>[    4.3]  </TASK>\n<4>[    4.4] Mem-Info:\n<4>[    4.4] active_anon:13 inactive_anon:400\n"
        f"<3>[    4.5] Out of memory: Killed process {pid} (sh) total-vm:2260kB, anon-rss:68kB\n"
        for task, pid, taker in (("first", 40, "mine_write"), ("second", 41, "mine_poll"))
    )
    splats = find_splats(parse_console(log))
    assert [(s.kind, s.title, s.task, s.pid) for s in splats] == [
        (SplatKind.OUT_OF_MEMORY, "out of memory in mine_write", "first", 40),
        (SplatKind.OUT_OF_MEMORY, "out of memory in mine_poll", "second", 41),
    ]
