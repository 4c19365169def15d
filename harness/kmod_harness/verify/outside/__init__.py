"""What verification reads of the stopped guest: where modules lie, and the kernel's state."""
