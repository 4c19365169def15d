"""gdb at a guest: the kernel's symbols at their slide, modules' symbols as they come and go."""
