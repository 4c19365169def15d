#!/bin/bash
# render-page.sh EXPLAIN...: the explain page that lies in the docs, measured anew, and the picture of its first
# screen. EXPLAIN is the command, `.venv/bin/kmod-harness explain` say. PAGE_PICTURE is the picture's address for
# previews of links; where the page is published by an address of its own it has to be a whole one.
set -eu

docs=$(dirname "$0")/../docs
docs=$(realpath --relative-to="$PWD" "$docs")
"$@" --kernel minimal --out "$docs/explain" --picture "${PAGE_PICTURE:-../pictures/explain.png}"
rm "$docs/explain/relocations.csv" # the page has them all: the sample driver has few

profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --force-prefers-reduced-motion \
	--user-data-dir="$profile" --force-device-scale-factor=1.5 --window-size=1280,740 \
	--screenshot="$docs/pictures/explain.png" "file://$PWD/$docs/explain/index.html#step=3" 2>"$profile/said" ||
	{ cat "$profile/said" >&2; exit 1; }
ls -l "$docs/explain/index.html" "$docs/pictures/explain.png"
