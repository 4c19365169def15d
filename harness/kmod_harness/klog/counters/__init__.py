"""What the kernel counts of its own troubles, and whether its log tells as much."""
