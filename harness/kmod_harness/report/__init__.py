"""What a person reads of a kernel's report: source lines, the faulting instruction, evidence."""
