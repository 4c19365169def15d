#!/bin/sh
# help.sh MAKEFILE: the targets that have a word of explanation (`target: ...  ## word`), in groups (`##@`).
set -eu

awk '
	BEGIN { print "make TARGET [VARIABLE=...]" }
	/^##@ / { printf "\n%s\n", substr($0, 5) }
	/^[a-z-]+:.*  ## / {
		split($0, part, "  ## ")
		sub(/:.*/, "", part[1])
		printf "  %-11s%s\n", part[1], part[2]
	}' "$1"
cat <<'END'

Variables
  KERNEL=    minimal (default; compiled here once, about 5 minutes), debian (prebuilt: no compile),
             host (the running one), or a path: a bzImage or a kernel build directory
  KERNEL_SRC=  directory or tarball that `minimal` is built from (default: the running
               Debian's package linux-source)
  ROOTFS=    embedded (default), buildroot, buildroot-ext4 (for a kernel with ext4), or a path: a cpio
             archive or an ext4 image
  BUILDROOT=  Buildroot tree or git repository for ROOTFS=buildroot (default: the pinned release, cloned)
  SUITE= WHO= COMMANDS= CACHE=  for `make fresh`: bookworm or trixie; root or sudo; other commands than the
             README's, separated by `;`; keep: kernels compiled by an earlier run
  M=         directory of modules for `make modules`
  ARGS=      more arguments for the command
  KH_NO_INSTALL=1  install no Debian packages: name the programs that are missing instead
  PYTHON=    the Python that .venv is made with (default: the first of 3.11 or newer)
END
