"""A .ko and what becomes of it: ELF, modinfo, symbols, kallsyms, layout. Pure."""
