"""This machine as the harness finds it: directories, packages, and what it refuses."""
