"""gdb at QEMU's gdb stub, and the harness's own breakpoints through it."""
