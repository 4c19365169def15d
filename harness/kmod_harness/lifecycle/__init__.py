"""The life of a guest: prepared, booted, saved as a template or checkpoint, restored, kept as it failed."""
