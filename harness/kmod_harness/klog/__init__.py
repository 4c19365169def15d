"""The kernel's log: its records, the reports in them, and the outcome that they mean. No I/O."""
