"""The report of a test that failed with a guest."""
