"""The settings of a repository: its `kmod-harness.toml`, and the modules that its Makefiles name."""
