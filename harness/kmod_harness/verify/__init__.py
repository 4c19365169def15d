"""Proof of how modules were loaded: every byte in memory predicted from the .ko, or explained by name.

`verify_modules` reads the guest from outside, replays what the kernel wrote, and gives a
Report."""
