"""Where the members of the kernel's structures lie, by DWARF or BTF."""
