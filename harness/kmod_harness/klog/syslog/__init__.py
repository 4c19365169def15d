"""Kernel logs as dmesg, journald, syslog and CI systems write them down."""
