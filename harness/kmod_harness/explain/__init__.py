"""The page that explains, from one real boot, how a module got into the kernel."""
