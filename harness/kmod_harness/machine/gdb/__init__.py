"""gdb at QEMU's stub, and breakpoints of our own by it."""
