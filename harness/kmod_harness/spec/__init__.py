"""What to boot: frozen, validated data. No I/O; imports no other room."""

from .spec import Spec, SpecError, parse_size_mib

__all__ = ["Spec", "SpecError", "parse_size_mib"]
