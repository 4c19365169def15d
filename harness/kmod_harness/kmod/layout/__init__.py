"""The placement of a module by the kernel: its layout algorithm replayed. Pure."""
