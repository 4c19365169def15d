"""The page: what was observed, drawn and told."""
