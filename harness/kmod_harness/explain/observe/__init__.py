"""The experiments: one module loaded, used and unloaded while it is observed from inside and outside."""
