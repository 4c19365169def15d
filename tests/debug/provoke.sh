#!/bin/sh
# provoke.sh SECONDS [impatient]: writes to /dev/faulty, then waits for what comes late.
# impatient: first shortens the limits of all that watches for hangs, where the kernel has them.
limit() {
	if [ -e "$2" ]; then echo "$1" >"$2"; fi
}
if [ "$2" = impatient ]; then
	limit 1 /proc/sys/kernel/watchdog_thresh
	# behind the RCU stall: who waits for its grace period hangs for that reason
	limit 5 /proc/sys/kernel/hung_task_timeout_secs
	limit 1 /proc/sys/kernel/hung_task_check_interval_secs
	limit 3 /sys/module/rcupdate/parameters/rcu_cpu_stall_timeout
	limit 2 /sys/module/workqueue/parameters/watchdog_thresh
fi
if [ -e /dev/faulty ]; then echo now >/dev/faulty; fi
sleep "$1"
exit 0
