"""The experiments: one module loaded, used and unloaded while everything is watched."""
