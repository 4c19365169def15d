"""Linking of a module as the kernel does it. Pure."""
