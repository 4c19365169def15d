"""`kmod-harness demo`: everything from nothing, shown step by step."""
