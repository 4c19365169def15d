"""The checks of the main job: each returns what was seen, or raises CheckFailed with the evidence.

Tests and the command line share them. One idea a file."""
