"""Why modules were not built: the first error, and the kernel's option that is missing."""
