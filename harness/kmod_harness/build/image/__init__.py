"""The images that a guest boots beside its kernel: the initramfs with the agent, and disks."""
