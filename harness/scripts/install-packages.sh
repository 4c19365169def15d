#!/bin/bash
# install-packages.sh GROUP...: makes sure that what the groups of debian-packages.txt need is there.
#
# Installs the packages of what is missing on Debian, as root or through sudo. On another
# distribution, or with KH_NO_INSTALL=1: names each missing program and exits 2.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
log=$(dirname "$(dirname "$here")")/build/log/apt-get.log

there() { # there CHECK
	case $1 in
	python3) "$here/find-python.sh" >/dev/null 2>&1 ;;
	python:*) "$here/find-python.sh" "${1#python:}" >/dev/null 2>&1 ;;
	file:*) test -e "${1#file:}" ;;
	library:*) PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -q "^[[:space:]]*${1#library:} " ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

in_words() { # in_words CHECK: what a person would look for
	case $1 in
	python3) echo "python3 (3.11 or newer)" ;;
	python:*) echo "Python's module ${1#python:}" ;;
	file:*) echo "${1#file:}" ;;
	library:*) echo "the library ${1#library:}" ;;
	*) echo "$1" ;;
	esac
}

known_to_apt() { # known_to_apt PACKAGE...: prints those that apt could install, under this or another name
	LC_ALL=C apt-cache policy "$@" 2>/dev/null | awk '
		/^[^ ].*:$/ { name = substr($1, 1, length($1) - 1) }
		$1 == "Candidate:" && $2 != "(none)" { print name }'
	# apt-cache(8), showpkg: what provides a name that no package has itself
	LC_ALL=C apt-cache showpkg "$@" 2>/dev/null | awk '
		$1 == "Package:" { name = $2; provided = 0 }
		provided && NF { print name; provided = 0 }
		$1 " " $2 == "Reverse Provides:" { provided = 1 }'
}

unknown_to_apt() { # unknown_to_apt PACKAGE...
	comm -23 <(printf '%s\n' "$@" | sort -u) <(known_to_apt "$@" | sort -u)
}

decline() { # decline REASON
	{
		echo "missing on this machine, and $1:"
		for check in "${missing_checks[@]}"; do
			echo "  $(in_words "$check")"
		done
		if is_debian; then
			echo "-> as root: apt-get install --no-install-recommends ${missing[*]}"
		else
			echo "-> install them, then run make again (harness/docs/kernels-and-images.md, \"Other distributions\")"
		fi
	} >&2
	exit 2
}

is_debian() {
	grep -qsx 'ID=debian' /etc/os-release
}

may_be_root() { # root, or sudo that asks for nothing, or somebody is there to be asked
	[ "$(id -u)" = 0 ] && return
	command -v sudo >/dev/null || return
	sudo -n true 2>/dev/null || (: </dev/tty) 2>/dev/null
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_get() { # apt_get ARGUMENT...: its output goes to the log, its last lines to the terminal if it fails
	mkdir -p "$(dirname "$log")"
	# a lock that another apt holds is waited for
	if ! as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -o DPkg::Lock::Timeout=300 "$@" \
		>>"$log" 2>&1 </dev/null; then
		tail -n 15 "$log" >&2
		echo "apt-get $1 failed; the whole log: $log" >&2
		return 1
	fi
}

missing=() missing_checks=() fetched=()
while read -r group package check _; do
	[[ " $* " == *" $group "* ]] || continue
	if [ "$check" = - ]; then
		fetched+=("$package")
	elif ! there "$check"; then
		missing+=("$package")
		missing_checks+=("$check")
	fi
done < <(grep -v '^#' "$here/debian-packages.txt")

if [ "${KH_NO_INSTALL:-}" = 1 ]; then
	[ ${#missing[@]} = 0 ] || decline "KH_NO_INSTALL=1 declines installing"
	exit 0
fi
if ! is_debian; then
	[ ${#missing[@]} = 0 ] || decline "packages are installed on Debian only"
	exit 0
fi
wanted=("${missing[@]}" "${fetched[@]}")
[ ${#wanted[@]} != 0 ] || exit 0

unknown=$(unknown_to_apt "${wanted[@]}")
if [ ${#missing[@]} = 0 ] && [ -z "$unknown" ]; then
	exit 0
fi
if ! may_be_root; then
	[ ${#missing[@]} = 0 ] || decline "installing needs root or sudo"
	echo "apt does not know: ${unknown//$'\n'/ }" >&2
	echo "-> as root: apt-get update" >&2
	exit 2
fi
if [ -n "$unknown" ]; then
	echo "apt-get update: its lists lack ${unknown//$'\n'/ }"
	apt_get update || exit 2
	unknown=$(unknown_to_apt "${wanted[@]}")
	if [ -n "$unknown" ]; then
		echo "apt knows no package ${unknown//$'\n'/ }, after apt-get update too" >&2
		echo "-> Debian 12 and 13 have them; elsewhere use KERNEL_SRC=, KERNEL= and ROOTFS= (make help)" >&2
		exit 2
	fi
fi
if [ ${#missing[@]} != 0 ]; then
	echo "installing Debian packages: ${missing[*]}"
	# lists may know a version that the archive has replaced since
	apt_get install -y --no-install-recommends "${missing[@]}" || {
		apt_get update && apt_get install -y --no-install-recommends "${missing[@]}"
	} || exit 2
	for check in "${missing_checks[@]}"; do
		if ! there "$check"; then
			echo "installed, yet still not there: $(in_words "$check")" >&2
			exit 2
		fi
	done
fi
