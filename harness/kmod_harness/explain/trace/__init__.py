"""Who ran when: the kernel's tracers, gdb's stops, QEMU's execution log."""
