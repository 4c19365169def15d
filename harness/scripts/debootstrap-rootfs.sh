#!/bin/bash
# debootstrap-rootfs.sh IMAGE.ext4: Debian itself as a guest's root file system, systemd as its init.
#
# An example of an image that knows nothing of the harness; what it is given is a shell on ttyS1 and the
# quiet of ttyS0, which is the kernel's. As root (debootstrap). Boots with a kernel that has ext4:
#   kmod-harness run my.ko --kernel debian --rootfs IMAGE.ext4
set -euo pipefail

image=$(readlink -f "$1")
# the mirror that this machine's own apt uses
# shellcheck disable=SC2016  # apt's own placeholders
read -r suite mirror < <(apt-get indextargets --format '$(LABEL) $(COMPONENT) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
	awk '$1 == "Debian" && $2 == "main" && $3 !~ /-/ { print $3, $4; exit }')
[ -n "${mirror:-}" ] || {
	echo "apt's sources name no Debian mirror: apt-get update" >&2
	exit 2
}

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
debootstrap --variant=minbase --include=systemd-sysv,kmod,procps,iproute2,dropbear-bin \
	"$suite" "$tree" "$mirror"

# for host keys: dropbear-bin, the program without its service, comes without it
mkdir -p "$tree/etc/dropbear"
mkdir -p "$tree/etc/systemd/system.conf.d"
# not serial-getty@: that waits for udev, which is not here, and bash would edit the lines that the harness types
cat >"$tree/etc/systemd/system/shell@.service" <<'END'
[Unit]
Description=A shell on %I

[Service]
ExecStart=-/bin/sh -l
Restart=always
WorkingDirectory=/root
Environment=HOME=/root TERM=vt220
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/%I
TTYReset=yes

[Install]
WantedBy=multi-user.target
END
cat >"$tree/etc/systemd/system.conf.d/console.conf" <<'END'
[Manager]
ShowStatus=no
LogTarget=journal
END
chroot "$tree" systemctl enable shell@ttyS1.service
chroot "$tree" systemctl mask serial-getty@ttyS0.service
echo kmod-harness >"$tree/etc/hostname"
rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*

size=$(du -sm "$tree" | cut -f1)
rm -f "$image"
mke2fs -q -t ext4 -d "$tree" -m 0 "$image" "$((size * 5 / 4 + 64))M"
echo "$image"
