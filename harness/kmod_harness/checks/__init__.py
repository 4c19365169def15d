"""Checks of a loaded module and its kernel: each returns its evidence, or raises CheckFailed with it.

Tests and the command line share them. Each file holds one check.
"""
