"""The content of a .ko file. Pure."""
