"""What a .ko is and becomes: ELF, modinfo, symbols, kallsyms, layout. Pure."""
