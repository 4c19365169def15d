"""The names that the kernel lists, before a load and after an unload."""
