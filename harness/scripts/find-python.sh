#!/bin/sh
# find-python.sh [MODULE...]: prints the first Python, 3.11 or newer, that can import the modules.
# $PYTHON, when set, is the only one tried.
set -eu

for python in ${PYTHON:-python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11}; do
	if command -v "$python" >/dev/null && "$python" - "$@" 2>/dev/null <<-'END'; then
		import importlib, sys
		assert sys.version_info >= (3, 11)
		for name in sys.argv[1:]:
		    importlib.import_module(name)
	END
		command -v "$python"
		exit 0
	fi
done
echo "no Python 3.11 or newer${1:+ with the modules: $*}" >&2
exit 1
