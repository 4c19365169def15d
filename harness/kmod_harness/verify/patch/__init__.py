"""What the kernel writes into a module after relocation, replayed in its order."""
