#!/bin/sh
# What /dev/my is given, it gives back. Runs in the guest.
set -eu
echo hello >/dev/my
test "$(cat /dev/my)" = hello
