"""`kmod-harness doctor`: what is here, what is missing, which package brings it."""
