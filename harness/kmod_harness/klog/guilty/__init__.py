"""Which function a report is about."""
