"""What pytest shows of a test that failed with a guest."""
