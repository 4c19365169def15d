"""Files of the guest: opened there, read out of proc, and put there from the host."""
