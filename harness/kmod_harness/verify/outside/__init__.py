"""What verifying reads of the stopped guest: where a module lies, what the kernel's patching looked at."""
