"""Symbol tables of the kernel and of modules, compared and traced to source lines."""
