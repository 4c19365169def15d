#!/bin/bash
# checkpatch.sh KERNEL_BUILD_DIRECTORY: the kernel's own style check, over all our C; no finding is allowed.
set -euo pipefail

cd "$(dirname "$0")/../.."
checkpatch=$1/source/scripts/checkpatch.pl
[ -f "$checkpatch" ] || checkpatch=$1/scripts/checkpatch.pl
mapfile -t files < <(find modules harness tests -name '*.[ch]' ! -name '*.mod.c' | sort)
echo "checkpatch: ${#files[@]} files"
# It writes a cache of names beside the files it is run in, and asks git about them: run it elsewhere.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
absolute=("${files[@]/#/$PWD/}")
(cd "$scratch" && perl "$checkpatch" --no-tree --strict --no-summary --quiet --terse --show-types \
	--color=never --file "${absolute[@]}")
