"""The claims themselves, each a statement with its pure functions."""
