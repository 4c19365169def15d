"""Verification of loaded modules: every byte in memory is predicted from the .ko, or explained by name.

`verify_modules` reads the guest from outside, replays what the kernel wrote, and returns a Report.
"""
