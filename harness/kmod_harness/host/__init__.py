"""The machine that the harness runs on: directories, packages, and errors of the system."""
