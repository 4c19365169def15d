"""The life of a guest: prepared, booted, saved as a template, restored, branched, kept as it failed."""
