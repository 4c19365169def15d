"""The state of the kernel's page and slab allocators, read from memory."""
