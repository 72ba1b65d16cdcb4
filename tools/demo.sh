#!/usr/bin/env bash
# From nothing to a compiled demo pipeline whose numbers were checked, and a picture: bash tools/demo.sh [compile option]...
# Makes the environment on first use; the result is in build/demo, the picture, with the one that the unfused graphs make,
# in build/demo-picture. Where options are given there is no picture: they may be of graphs that make none.
# shellcheck source=tools/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

environment
out="$ROOT/build/demo"
rm -rf -- "$out" "$out-picture"
mkdir -p -- "$ROOT/build"
cd -- "$ROOT"
# Traces are kept for the comparison, which would make them again.
cache="$(mktemp -d -- "$ROOT/build/.demo-traces-XXXXXX")"
trap 'rm -rf -- "$cache"' EXIT
"$VENV/bin/attnfuse" compile demo:stable-diffusion -o build/demo --verify full --require deployable \
    --cache-dir "$cache" "$@" </dev/null
say
say "written to build/demo:"
(cd -- "$out" && find . -type f -printf '%10s  %P\n' | LC_ALL=C sort -k 2)
if [ $# -eq 0 ]; then
    say
    say "a picture of its graphs, and one of the same graphs unfused, on this machine's CPU; the weights are random:"
    "$VENV/bin/attnfuse" compare build/demo --against demo:stable-diffusion --cache-dir "$cache" -o build/demo-picture \
        </dev/null
    say
    say "the picture: build/demo-picture/picture.png; the report, for a browser: build/demo/report.html"
fi
