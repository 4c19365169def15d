"""What a repository says of itself: its `kmod-harness.toml`, and what its Makefiles let one know."""
