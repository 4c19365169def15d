"""What a failure leaves for a person: bundles, source lines in kernel logs, crash dumps."""
