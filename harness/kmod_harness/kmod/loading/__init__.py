"""What is loaded, in which order, for the modules that are asked for: as modprobe does it, pure."""
