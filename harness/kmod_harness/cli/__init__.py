"""The command line `kmod-harness`: one file a command, imported lightly, doing its work lazily."""
