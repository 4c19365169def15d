#!/bin/sh
# make-venv.sh: puts the package (editable) and what its tests and linters need in .venv.
set -eu

cd "$(dirname "$0")/../.."
# a checkout that was moved has a .venv whose programs name the old place
if ! .venv/bin/python -c 'import sys, pathlib; assert pathlib.Path(sys.prefix).samefile(".venv")' 2>/dev/null ||
	! .venv/bin/python -m pip --version >/dev/null 2>&1; then
	rm -rf .venv
	python=$(harness/scripts/find-python.sh venv ensurepip)
	echo "making .venv with $("$python" --version)"
	"$python" -m venv .venv
fi
echo "installing the harness, test and lint tools into .venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
