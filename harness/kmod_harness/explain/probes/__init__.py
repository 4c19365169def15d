"""The means of observation, one a file: system calls from inside, tracers, gdb, QEMU's execution log."""
