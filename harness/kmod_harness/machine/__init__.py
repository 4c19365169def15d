"""One QEMU process seen from outside: accelerator, command line, launch, QMP, waiting, death."""
