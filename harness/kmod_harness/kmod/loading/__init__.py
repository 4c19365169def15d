"""The modules to load, in their order, for those that are asked for: as modprobe does it. Pure."""
