"""Where the kernel puts a module: its layout algorithm replayed. Pure."""
