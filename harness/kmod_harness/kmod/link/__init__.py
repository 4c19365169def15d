"""A module linked as the kernel links it. Pure."""
