"""`kmod-harness verify`: every byte of a module accounted for."""
