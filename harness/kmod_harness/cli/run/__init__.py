"""`kmod-harness run`: one run, one verdict."""
