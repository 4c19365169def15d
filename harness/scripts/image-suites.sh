#!/bin/bash
# image-suites.sh HARNESS OUT BUILDROOT: tests/guest on each root file system a guest may have, for the nightly.
#
# The embedded one has its turn in `kmod-harness nightly`. BUILDROOT is a tree, a repository or "": then nothing
# is built, and that is said. Debian itself, with systemd, takes root and debootstrap. Every image has its
# turn, whatever the one before said: OUT/IMAGE-KERNEL.xml and a line of results each. Non-zero when one failed.
set -u

harness=$1 out=$2 buildroot=$3
mkdir -p "$out"
results=$out/images.md
printf '| image | kernel | result | seconds |\n|---|---|---|---|\n' >"$results"
failed=0

suite() { # IMAGE KERNEL PATH
	local name=$1-$2 start=$SECONDS said
	echo "== $name"
	if "$harness" kernel build "$2" && "$harness" modules --kernel "$2" >/dev/null; then
		"$(dirname "$harness")/python" -m pytest tests/guest --kh-kernel="$2" --kh-rootfs="$3" \
			--junitxml="$out/$name.xml" >"$out/$name.log" 2>&1 || failed=1
		said=$(sed -n 's/^=* \(.*\) in [0-9.]*s.*=*$/\1/p' "$out/$name.log" | tail -n 1)
	else
		failed=1
	fi
	echo "| $1 | $2 | ${said:-not run} | $((SECONDS - start)) |" | tee -a "$results"
}

if [ -z "$buildroot" ]; then
	echo "images by Buildroot: skipped, BUILDROOT= names no tree" | tee -a "$results"
else
	if image=$("$harness" rootfs buildroot --buildroot "$buildroot"); then
		suite buildroot minimal "$image"
	else
		failed=1
	fi
	if image=$("$harness" rootfs buildroot-ext4 --buildroot "$buildroot"); then
		suite buildroot-ext4 debian "$image"
	else
		failed=1
	fi
fi

if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
	echo "Debian with systemd: skipped, it takes root and debootstrap" | tee -a "$results"
else
	if "$(dirname "$0")/debootstrap-rootfs.sh" "$out/debian.ext4" >"$out/debootstrap.log" 2>&1; then
		suite debootstrap debian "$out/debian.ext4"
	else
		echo "debootstrap failed: $out/debootstrap.log" >&2
		failed=1
	fi
	rm -f "$out/debian.ext4"
fi
exit "$failed"
