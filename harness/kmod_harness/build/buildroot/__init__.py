"""Root file systems by Buildroot."""
