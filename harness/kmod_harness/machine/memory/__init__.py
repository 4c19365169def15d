"""A guest's memory, page tables and registers, read from outside."""
