"""Output about failures: bundles, readable reports with source lines, crash dumps."""
