"""Reports that somebody expects, and those that came."""
