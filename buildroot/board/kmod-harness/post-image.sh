#!/bin/sh
# post-image.sh IMAGES_DIR: makes rootfs.ext4 of rootfs.cpio, and lays beside bzImage what belongs to it.
#
# Buildroot's own ext4 image takes host-e2fsprogs and with it the autotools; the build machine's mke2fs takes
# a second. Equal input gives equal bytes: the times of all files, UUID and hash seed are fixed.
set -eu

images=$1
tree=$(mktemp -d "$images/.ext4.XXXXXX")
trap 'rm -rf "$tree"' EXIT
# mke2fs is in /sbin, which is not on everybody's PATH
export E2FSPROGS_FAKE_TIME="${SOURCE_DATE_EPOCH:-1}" PATH="$PATH:/usr/sbin:/sbin"

# a quarter and 24 MiB more than the files: room for what tests write
size=$(($(wc -c <"$images/rootfs.cpio") * 5 / 4 / 1048576 + 24))
cat >"$images/.make-ext4" <<END
cd "$tree"
cpio --quiet --extract --make-directories --preserve-modification-time \
	--no-absolute-filenames <"$images/rootfs.cpio"
find . -exec touch --no-create --no-dereference --date="@$E2FSPROGS_FAKE_TIME" {} +
rm -f "$images/rootfs.ext4"
# no journal: each guest has a layer of its own that ends with it
mke2fs -q -t ext4 -d . -L kmod-harness -m 0 -O ^has_journal -U 6b6d6f64-6861-726e-6573-730000000001 \
	-E hash_seed=6b6d6f64-6861-726e-6573-730000000002 "$images/rootfs.ext4" ${size}M
# mke2fs 1.47.0 takes an inode's ctime from the file, where nobody can set it
find . | sed 's|^\.$|./|; s|^\.\(.*\)|sif "\1" ctime @$E2FSPROGS_FAKE_TIME|' >"$images/.ctimes"
debugfs -w -f "$images/.ctimes" "$images/rootfs.ext4" >/dev/null 2>&1
END
# fakeroot remembers owners and device nodes from one program to the next
fakeroot sh -eu "$images/.make-ext4"
rm "$images/.make-ext4" "$images/.ctimes"

# A kernel's symbols and configuration, under the names that distributions give them in /boot: with them a
# report has source lines, and a dump of the guest's memory can be read.
for linux in "$BUILD_DIR"/linux-*; do
	[ -f "$linux/vmlinux" ] || continue
	release=$(cat "$linux/include/config/kernel.release")
	cp "$linux/vmlinux" "$images/vmlinux-$release"
	cp "$linux/System.map" "$images/System.map-$release"
	cp "$linux/.config" "$images/config-$release"
done
