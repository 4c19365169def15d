"""Functions that a report is not about: they report, check, wait, allocate or dispatch for others.

A report names the innermost function that did something of its own; these serve everybody, so that
a fault in one of them is its caller's. A row is a place in the kernel tree and the names of its
functions, as a regular expression.
"""

from __future__ import annotations

import re
from functools import cache

#: (place in the kernel tree, names)
_CARRIERS = (
    # --- they report
    (
        "lib/dump_stack.c, kernel/printk, kernel/panic.c, lib/bug.c, lib/fortify",
        r"dump_\w+|show_\w+|print_\w+|printk\w*|v?printk_\w+|vprintk|v?panic\w*|nmi_panic\w*|warn|warn_\w+|"
        r"report_\w+|sched_show_task|\w+_(?:panic|warn_report)|fortify_report|assertfail|assfail|ex_handler_\w+|"
        r"rust_helper_BUG|rust_begin_unwind|console_(?:unlock|trylock\w*|lock|flush_all)|usercopy_\w+",
    ),
    (
        "kernel/stacktrace.c, arch/*/kernel/{stacktrace,unwind*}.c",
        r"save_stack\w*|stack_trace\w*|stack_depot\w*|unwind_\w+|arch_stack_walk\w*|walk_stack\w*|depot_\w+|"
        r"is_bpf_text_address|kernel_text_address|is_module_text_address|bpf_\w+_text_\w+",
    ),
    (
        "arch/x86/kernel/traps.c, arch/x86/mm/fault.c, arch/arm*/mm/fault.c, entry code",
        r"fixup_bug|do_error_trap|do_invalid_op|do_trap\w*|invalid_op|handle_bug|handle_invalid_op|exc_\w+|asm_\w+|die\w*|oops_\w+|"
        r"no_context|bad_area\w*|page_fault\w*|do_page_fault|do_user_addr_fault|do_kern_addr_fault|do_kernel_fault|"
        r"async_page_fault|error_entry|general_protection|do_general_protection|do_double_fault|double_fault|"
        r"common_exception_return|common_interrupt|ret_from_intr|irqentry_\w+|"
        r"do_mem_abort|do_tag_check_fault|do_translation_fault|do_bad_area|do_DataAbort|dabt_\w+|el[01]\w*|"
        r"nmi_\w+|trigger_\w+|arch_trigger\w*|call_softirq|ret_from_\w+|do_syscall\w*|entry_\w+|retint_\w+|"
        r"smp_\w*interrupt\w*|apic_timer\w*|sysvec_\w+|local_apic_\w+|hyperv_\w+_entry|"
        r"native_\w+|paravirt_\w+|pv_\w+|x86_indirect_\w*|preempt_schedule\w*|stack_chk_fail|mcount\w*",
    ),
    # --- they check
    (
        "mm/kasan, mm/kmsan, kernel/kcsan, mm/kfence, kernel/kcov.c, lib/{ubsan,debugobjects,fault-inject}.c",
        r"(?:k|hw)?asan_\w+|check_memory_region\w*|check_region_inline|memory_is_\w+|bytes_is_\w+|kmsan_\w+|msan_\w+|"
        r"kcsan_\w+|tsan_\w+|kfence_\w+|ubsan_\w+|handle_overflow|sanitizer_\w+|object_err|end_report|describe_\w+|"
        r"write_comp_data|check_kcov_mode|kcov_\w+|qlist_move\w*|quarantine_\w+|addr_has_\w+|"
        r"debug_(?:check|object|locks|print|dma|smp|mutex|rt_mutex|spin|lockdep)\w*|check_no_obj_freed|lookup_object\w*|"
        r"timer_is_static_object|work_is_static_object|fault_create\w*|should_fail\w*|fail_dump|"
        r"check_(?:object_size|heap_object|preemption_disabled|kernel_text_object|stack_object)|object_is_on_stack|"
        r"this_cpu_preempt_check|smp_processor_id|unreferenced|kmemleak_\w+|create_object|"
        r"ref_tracker_\w+|warn_bogus_irq_restore|pfx_\w+",
    ),
    # --- library
    (
        "lib/: strings, memory, lists, trees, reference counts, printf",
        r"mem(?:cpy|set|move|cmp|scan|chr|weight|dup)\w*|str(?:n?len|n?cpy|lcpy|scpy|n?cmp|n?chr|n?casecmp|n?str|l?cat|sep|"
        r"rchr|nlen|s?pn|cspn|scpy_pad|ncpy_from_user|nlen_user)\w*|sized_str\w+|crc\w+|csum_\w+|hex_\w+|number|string\w*|pointer|"
        r"va?s[cn]{0,2}printf|s[cn]{0,2}printf|kasprintf|kvasprintf\w*|format_decode|"
        r"(?:raw_)?copy_(?:to|from|in|mc)_\w+|copy_page_(?:to|from)\w*|copyin|copyout|instrument_copy\w*|"
        r"rep_movs\w*|rep_stos\w*|clear_user\w*|clear_page\w*|copy_page\w*|"
        r"refcount_\w+|kref_\w+|list_(?:add|del|move|splice|empty|lru)\w*|hlist_\w+|klist_\w+|llist_\w+|"
        r"atomic\w*|arch_atomic\w*|instrument_\w+|cmpxchg\w*|xchg\w*|"
        r"(?:arch_)?(?:test|set|clear|change|assign)_(?:and_\w+_)?bit\w*|find_(?:next|first|last)_\w*bit\w*|bitmap_\w+|"
        r"rb_(?:erase|insert|first|next|prev|last|replace|link|add|find)\w*|interval_tree_\w+|"
        r"radix_tree_(?!node_alloc)\w+|xas_\w+|xa_\w+|idr_\w+|ida_\w+|jhash\w*|rht_\w+|rhashtable_\w+|rhltable_\w+|"
        r"percpu_(?:counter|ref)_\w+|kobject_\w+|kobj_\w+|kset_\w+|add_uevent_var|kfifo_\w+|siphash\w*|"
        r"read_once\w*|write_once\w*|READ_ONCE\w*|WRITE_ONCE\w*|raw_(?:read|write)[bwlq]\w*|read[bwlq]|write[bwlq]|"
        r"(?:logic_)?(?:in|out)[bwl]|ioread\w+|iowrite\w+|sbitmap_\w+|iov_iter_\w+|sg_(?:init|next|copy|alloc|free|miter|pcopy)\w*|simple_copy_to_iter",
    ),
    # --- locks
    (
        "kernel/locking, kernel/rcu",
        r"lock_(?:acquire|release|is_held|sock_nested|downgrade|set_\w+|timer_base|acquired|contended)\w*|"
        r"check_(?:noncircular|prev|deadlock|usage|chain|lock|wait_context|irq_usage|flags|unmap)\w*|"
        r"validate_chain|mark_(?:lock|held|usage)\w*|register_lock_class|reacquire_\w+|lockdep_\w+|look_up_lock_class|"
        r"static_obj|lock_class\w*|hardirqs_\w+|perf_trace_lock\w*|do_perf_trace_lock\w*|trace_lock\w*|"
        r"(?:down|up)_(?:read|write|interruptible|killable|trylock|timeout)\w*|down|up|downgrade_write|rwsem_\w+|percpu_\w+_(?:down|up)\w*|"
        r"percpu_(?:down|up)\w*|rt_mutex\w*|rtlock_\w+|rt_spin\w*|"
        r"(?:_raw_|do_raw_|raw_|arch_)?(?:spin|read|write)_?(?:un|try|is_)?(?:locked|lock)\w*|queued_\w+|spin_dump|spin_bug|"
        r"mutex_\w+|ww_mutex_\w+|semaphore\w*|osq_lock|mcs_spin\w*|qspin\w*|pv_queued\w*|seqcount\w*|read_seq\w*|write_seq\w*|"
        r"rcu_\w+|call_rcu\w*|kvfree_call_rcu|kfree_call_rcu|srcu_\w+|dyntick_\w+|check_cpu_stall|print_cpu_stall|"
        r"local_(?:bh|irq|lock|unlock)_\w+|preempt_\w+|trace_hardirqs\w*|lock_is_held\w*|bit_spin_\w+|call_rwsem_\w+",
    ),
    # --- they wait
    (
        "kernel/sched, kernel/hung_task.c, mm/filemap.c's waits",
        r"schedule\w*|context_switch|switch_to\w*|io_schedule\w*|[mu]?sleep\w*|usleep\w*|wait_for_\w*|do_wait_for_\w+|"
        r"bit_wait\w*|out_of_line_wait\w*|wait_on_\w+|wait_consider\w*|do_sched\w*|might_\w+|finish_wait|finish_task_switch|"
        r"prepare_to_wait\w*|autoremove_wake\w*|wake_up(?!_new_task)\w*|task_rq_lock\w*|try_to_wake_up|ttwu_\w+|complete|complete_all|swait_\w+|swake_\w+|"
        r"folio_(?:wait|lock|unlock|end)\w*|lock_page\w*|lock_folio\w*|cond_resched\w*|resched_\w+|pick_\w+|dequeue_\w+|enqueue_\w+|"
        r"wait_rcu_gp\w*|wait_woken|do_wait\w*|nanosleep\w*|hrtimer_nanosleep|kernel_fpu_\w+|cpu_relax|rep_nop|"
        r"watchdog\w*|check_hung\w*|get_current|test_ti_thread_flag|kvm_(?:spin|guest_\w+)|kthread|"
        r"stop_one_cpu|stop_machine\w*|rt_b?lock\w*",
    ),
    # --- they serve everybody
    (
        "kernel/time, kernel/workqueue.c, kernel/kthread.c, kernel/softirq.c, kernel/trace",
        r"update_process_times|tick_(?:sched|do|nohz|handle|periodic|check)_\w+|tick_periodic|hrtimer_\w+|run_hrtimer|do_softirq\w*|irq_exit\w*|irq_enter\w*|invoke_softirq|"
        r"softirqentry_\w+|ktime_get\w*|trace_\w+|ftrace_\w+|perf_trace_\w+|perf_event_ctx_lock\w*|acpi_idle_\w+|cpuidle_\w+|do_idle|cpu_idle\w*|default_idle\w*|"
        r"(?:del|mod|add|try_to_del)_timer\w*|timer_\w+_sync|detach_(?:if_pending|timer)|timer_delete\w*|timer_shutdown\w*|"
        r"cancel_(?:delayed_)?work\w*|try_to_grab_pending|start_flush_work|(?:flush|drain|destroy)_work\w*|flush_delayed_\w+|"
        r"queue_(?:delayed_)?work\w*|mod_delayed_work\w*|start_flush\w*|kthread_(?:stop|should|park|queue|bind|flush)\w*|insert_work|"
        r"workqueue_\w+_lockdep|tasklet_(?:kill|disable|schedule)\w*|free_irq|irq_work_\w+|notifier_call_chain",
    ),
    (
        "lib/devres.c, drivers/base, fs/sysfs: what every driver's remove goes through",
        r"device_(?:del|add|unregister|register|move|rename|remove\w*|release|destroy|create\w*|for_each\w*|links\w*)|put_device|get_device\w*|misc_(?:de)?register|dpm_\w+|tty_(?:un)?register_device\w*|i2c_del_adapter|unregister_client|hwrng_\w+|cdev_\w+|"
        r"driver_(?:register|unregister)|bus_(?:add|remove)_\w+|devres_\w+|sysfs_\w+|klist\w+|"
        r"usb_(?:kill|submit|unlink|poison)_urb|usb_hcd_\w+|usb_(?:start_wait_urb|control_msg|bulk_msg)|input_\w+_uevent",
    ),
    (
        "net/core: buffers, references, the end of a device",
        r"skb_(?:put|push|pull|over|under|panic|release|copy_expand|unref|trim)\w*|pskb_\w+|"
        r"sk_(?:free|destruct|prot_free|common_release)|sock_put|dst_release\w*|netdev_(?:put|hold)|"
        r"rollback_registered\w*|unregister_netdevice_(?:many|queue)\w*|unregister_netdev|netif_napi_del\w*|dev_put|dev_hold",
    ),
    (
        "fs/: reference counts and the page and buffer caches",
        r"iput\w*|dput\w*|fast_dput|drop_nlink|inc_nlink|clear_nlink|set_nlink|ihold|igrab|fput\w*|mntput\w*|"
        r"mark_buffer_\w+|mark_inode_dirty\w*|brelse\w*|bforget\w*|"
        r"truncate_(?:inode_pages|pagecache|setsize)\w*|find_lock_entries|find_get_\w+|filemap_get_\w+|"
        r"filemap_(?:fdatawait|check|fdatawrite)\w*|fdatawait_one_bdev|page_cache_\w+|put_page\w*|put_folio\w*|folio_put\w*|"
        r"page_(?:ref|folio|count|mapcount|to_nid|zone)\w*|do_read_cache_\w+|kill_fasync\w*|fasync_\w+",
    ),
    (
        "kernel/smp.c: on behalf of the caller; kernel/params",
        r"static_key_\w+|jump_label_\w+",
    ),
    # --- they allocate
    (
        "mm/: allocators",
        r"(?:kz|k|kv|vz?|kmem_cache_|slab_|__slab_|___slab_|devm_k|mempool_)(?:alloc|free|malloc|zalloc|calloc|realloc|memdup)\w*|"
        r"kmalloc\w*|kzalloc\w*|kcalloc\w*|kmemdup\w*|memdup_\w+|kstrdup\w*|kstrndup\w*|vmemdup_\w+|kfree\w*|kvfree\w*|vfree\w*|vunmap\w*|"
        r"cache_(?:free|alloc|flusharray|grow)\w*|do_cache_alloc|slab_\w+|new_slab\w*|allocate_slab|get_partial\w*|"
        r"free_(?:large_kmalloc|debug_processing|pages\w*|unref\w*|frozen\w*|pcppages\w*|hot_cold\w*|to_pcp\w*|one_page|percpu)|"
        r"page_frag_\w+|alloc_(?:frozen_)?pages?\w*|get_page_from_freelist|post_alloc_hook|prep_new_page|rmqueue\w*|"
        r"get_free_pages?|get_zeroed_page|oom_kill_process|out_of_memory|free_page_is_bad|free_tail_pages_check|"
        r"check_(?:bytes_and_report|pad_bytes|object|slab|on_freelist)|kmem_cache_(?:destroy|shutdown|shrink)|shutdown_cache|"
        r"warn_alloc\w*|bad_page\w*|check_(?:free|new)_page\w*|vmalloc\w*|alloc_percpu\w*|pcpu_\w+|alloc_bulk\w*|"
        r"page_pool_(?:alloc|dev_alloc|put|return|release)\w*|poison_\w+|"
        r"folio_alloc\w*|vma_alloc\w*|get_mem_cgroup\w*|count_memcg\w*|mem_cgroup_\w+|memcg_\w+|dma_pool_\w+",
    ),
)

#: Callers through a pointer: what they call is an operation of its own - a file's or a socket's
#: method, a protocol's receive, a timer, a work item, an interrupt, a system call.
_DISPATCHERS = (
    (
        "fs/, block/: file and super block methods",
        r"(?:do_)?vfs_(?:read|write|ioctl|fsync\w*|get_tree|fallocate|setxattr\w*|iter_\w+)|do_vfs_ioctl|"
        r"call_(?:read|write)_iter|new_sync_(?:read|write)|do_iter_\w+|do_loop_readv_writev|iterate_dir|do_dentry_open|"
        r"task_work_run|f?put|evict|(?:compat_)?(?:k?sys|SyS)_ioctl|\w*compat_(?:\w+_)?ioctl|blkdev_ioctl",
    ),
    (
        "net/: sockets, protocols, netlink, netfilter's control",
        r"sock_(?:sendmsg|recvmsg|write_iter|read_iter|release|ioctl|do_ioctl)\w*|sys_(?:[gs]etsockopt|connect|bind|accept\w*)|"
        r"netif_receive_skb\w*|deliver_skb|napi_poll|rtnetlink_rcv_msg|nfnetlink_rcv_\w+",
    ),
    (
        "kernel/: timers, work, tasklets, interrupts, kthreads, initcalls",
        r"call_timer_fn|expire_timers|run_timers|process_one_work|process_scheduled_works|tasklet_action\w*|tasklet_hi_action|"
        r"handle_irq_event\w*|ret_from_fork\w*|kthread|do_one_initcall|run_hrtimer|hrtimer_run_queues|"
        r"rcu_do_batch|irq_work_single",
    ),
    (
        "system calls",
        r"do_syscall_\w+|do_fast_syscall_32|do_int80_\w+|invoke_syscall|el0_svc_common|entry_\w+|"
        r"sysenter_dispatch|cstar_dispatch|system_call\w*|x64_sys_call|ia32_sys_call|ret_fast_syscall",
    ),
)


def is_carrier(function: str) -> bool:
    """Return whether the function only reports, checks, waits or allocates for another."""
    return bool(_names(_CARRIERS).fullmatch(function))


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
