"""Functions that call an operation of its own kind through a pointer: what they call stands for itself."""

from __future__ import annotations

import re
from functools import cache

#: Callers through a pointer: what they call is an operation of its own - a file's or a socket's
#: method, a protocol's receive, a timer, a work item, an interrupt, a system call.
_DISPATCHERS = (
    (
        "fs/, block/: file and super block methods",
        r"(?:do_)?vfs_(?:read|write|ioctl|fsync\w*|get_tree|fallocate|setxattr\w*|iter_\w+)|do_vfs_ioctl|"
        r"call_(?:read|write)_iter|call_mmap|mmap_region|do_mmap|vfs_open|do_dentry_open|new_sync_(?:read|write)|"
        r"do_iter_\w+|do_loop_readv_writev|iterate_dir|"
        r"task_work_run|f?put|evict|(?:(?:x64|ia32|se|do)_)?(?:compat_)?(?:k?sys|SyS)_ioctl|compat_(?:\w+_)?ioctl|blkdev_ioctl",
    ),
    (
        "net/: sockets, protocols, netlink, netfilter's control",
        r"sock_(?:sendmsg|recvmsg|write_iter|read_iter|release|ioctl|do_ioctl)\w*|sys_(?:[gs]etsockopt|connect|bind|accept\w*)|"
        r"netif_receive_skb\w*|deliver_skb|napi_poll|rtnetlink_rcv_msg|nfnetlink_rcv_\w+|netlink_dump|"
        r"sock_common_setsockopt|sk_common_release|sock_mmap|kernel_(?:sendmsg|recvmsg|setsockopt|listen|accept)",
    ),
    (
        "kernel/: timers, work, tasklets, interrupts, kthreads, initcalls",
        r"call_timer_fn|expire_timers|run_timers|process_one_work|process_scheduled_works|tasklet_action\w*|tasklet_hi_action|"
        r"handle_irq_event\w*|ret_from_fork\w*|kthread|do_one_initcall|run_hrtimer|hrtimer_run_queues|"
        r"rcu_do_batch|irq_work_single|do_softirq\w*|handle_softirqs|run_ksoftirqd|run_timer_softirq|start_secondary|"
        r"cpu_startup_entry|exit_to_user\w*|worker_thread|rescuer_thread|smpboot_thread_fn",
    ),
    (
        "system calls",
        r"do_syscall_\w+|el0_\w+|do_fast_syscall_32|do_int80_\w+|invoke_syscall|el0_svc_common|entry_\w+|"
        r"sysenter_dispatch|cstar_dispatch|system_call\w*|x64_sys_call|ia32_sys_call|ret_fast_syscall",
    ),
)


def dispatches(function: str) -> bool:
    """Return whether the function calls operations through a pointer, each of which stands for itself."""
    return bool(_names(_DISPATCHERS).fullmatch(function))


@cache
def _names(table: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    """Compile the names of a table, with the underscores and suffixes that a name may have.

    From 6.10 on what allocates has `_noprof` behind its name (b951aaff5035: each caller is counted).
    Done when a report is first judged: a log without one has no need of it.
    """
    names = "|".join(names for _, names in table)
    return re.compile(rf"_{{0,4}}(?:{names})(?:_noprof)?(?:\.\w+){{0,4}}")
