"""What a module left behind in the kernel after its unload: pointers from outside, names from inside."""
