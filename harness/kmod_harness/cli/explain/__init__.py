"""`kmod-harness explain`: the page."""
