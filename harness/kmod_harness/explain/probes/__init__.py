"""One way of looking each: calls from inside, the tracers, gdb's stops, QEMU's execution log."""
