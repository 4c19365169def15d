#!/bin/bash
# detector-kernels.sh HARNESS OUT: a kernel for each detector alone, and the proof that it works there.
#
# What debug.config has together may hide what a detector does by itself; KCSAN excludes KASAN. Every kernel
# has its turn, whatever the one before said: OUT/NAME.xml, OUT/NAME-faults.md. Non-zero when one failed.
set -u

harness=$1 out=$2
mkdir -p "$out"
failed=0
for name in kasan lockdep kmemleak kcsan ubsan; do
	echo "== $name"
	rm -f build/test/faults.md
	"$harness" kernel build minimal --kconfig "$name" &&
		"$harness" modules --kconfig "$name" &&
		"$(dirname "$harness")/python" -m pytest tests/debug/test_faults.py -k other \
			--kh-kconfig="$name" --kh-memory=512M --junitxml="$out/$name.xml" || failed=1
	cp build/test/faults.md "$out/$name-faults.md" || failed=1
done
exit "$failed"
