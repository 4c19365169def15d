"""What differs by the kernel's release, as one table, and the releases that it was proven on. Pure."""
