#!/bin/sh
# post-build.sh TARGET_DIR: the image must be one that the harness can use, whatever the configuration says.
set -eu

target=$1

complain() {
	echo "post-build.sh: $1" >&2
	exit 1
}

# started by the harness, and only when a test asks for SSH
rm -f "$target/etc/init.d/S50dropbear"
# which would have made a directory of this link, for the host keys
rm -rf "$target/etc/dropbear"
mkdir -m 0700 "$target/etc/dropbear"

[ -x "$target/init" ] || complain "/init is not executable"
[ -e "$target/bin/sh" ] || complain "there is no /bin/sh"
grep -q '^ttyS1:.*sh$' "$target/etc/inittab" || complain "no shell is started on ttyS1"
if grep -q '^ttyS0:' "$target/etc/inittab"; then
	complain "something is started on ttyS0, which carries the kernel's log alone"
fi
