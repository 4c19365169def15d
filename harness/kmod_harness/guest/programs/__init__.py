"""Programs of the guest, and what they read."""
