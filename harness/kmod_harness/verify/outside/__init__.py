"""Verification from outside: reads the stopped guest, its modules' places and kernel state."""
