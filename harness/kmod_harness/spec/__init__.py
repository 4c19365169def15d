"""The description of a machine to boot: frozen, validated data. No I/O; imports no other room."""
