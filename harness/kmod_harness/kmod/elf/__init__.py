"""A .ko file as it lies on disk. Pure."""
