"""The kernel's writes into a module after relocation, replayed in its order."""
