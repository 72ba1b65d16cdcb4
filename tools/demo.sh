#!/usr/bin/env bash
# From nothing to a compiled demo pipeline whose numbers were checked: bash tools/demo.sh [compile option]...
# Makes the environment on first use; the result is in build/demo.
# shellcheck source=tools/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

environment
out="$ROOT/build/demo"
rm -rf -- "$out"
mkdir -p -- "$ROOT/build"
cd -- "$ROOT"
"$VENV/bin/attnfuse" compile demo:stable-diffusion -o build/demo --verify full --require deployable "$@" </dev/null
say
say "written to build/demo:"
(cd -- "$out" && find . -type f -printf '%10s  %P\n' | LC_ALL=C sort -k 2)
