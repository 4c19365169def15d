"""What to boot: frozen, validated data. No I/O; imports no other room."""

from .spec import Disk, Spec, SpecError, parse_disk, parse_size_mib

__all__ = ["Disk", "Spec", "SpecError", "parse_disk", "parse_size_mib"]
