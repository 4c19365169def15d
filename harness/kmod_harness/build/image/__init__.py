"""What a guest boots from beside its kernel: the initramfs, the agent in it, and disks."""
