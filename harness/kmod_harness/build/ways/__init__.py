"""The ways in which a directory says how its modules are built: dkms.conf, own Makefile, kbuild."""
