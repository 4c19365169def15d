"""The agent's port: frames, calls and their results, as the host sees them."""
