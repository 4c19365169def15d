"""Reports that have no header of their own in the table."""
