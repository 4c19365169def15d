"""What a kernel said: log records, splats, and the outcome they mean. Pure."""
