#!/usr/bin/env bash
# Everything a change must pass: bash tools/test.sh [pytest argument]...
# Makes the environment on first use. All steps run, so one call shows all that is wrong.
# With ATTNFUSE_MINDSPORE=2.10, the tests alone: the other steps look at sources, which are the same.
# shellcheck source=tools/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# Side by side: each is one process that unpacks. What the first tells is told again where it did not come to be.
lite_environment >/dev/null 2>&1 &
lite=$!
environment
wait "$lite" || true
lite_environment
cd -- "$ROOT"
failed=()

step() {
    local name="$1" started=$SECONDS
    shift
    say "== $name"
    if "$@" </dev/null; then
        say "   $name: passed in $((SECONDS - started)) s"
    else
        say "   $name: FAILED after $((SECONDS - started)) s"
        failed+=("$name")
    fi
}

python="$VENV/bin/python"
sources() {
    step "lint" "$python" -m ruff check .
    step "format" "$python" -m ruff format --check .
    step "types" "$python" -m mypy
    step "imports" "$VENV/bin/lint-imports"
    step "docs" bash tools/docs.sh
    printf '%s\n' "${failed[@]}" >"$1"
}
# Types take a minute of one core: beside the tests, which at times use less than two. Told in one piece.
beside=""
if [ "$MINDSPORE" = 2.7 ]; then
    told="$(mktemp -d)"
    trap 'rm -rf -- "$told"' EXIT
    (sources "$told/failed" >"$told/log" 2>&1; cat -- "$told/log" >&2) &
    beside=$!
fi
# Two workers: on the two cores this project promises to test on, more only costs memory.
step "tests" "$python" -m pytest -n 2 --dist worksteal "$@"
if [ -n "$beside" ]; then
    wait "$beside" || true
    mapfile -t found < <(grep . "$told/failed" || [ -e "$told/failed" ] || echo "sources")
    failed+=("${found[@]}")
fi

if [ ${#failed[@]} -gt 0 ]; then
    fail "failed: ${failed[*]}"
fi
say "all passed in $SECONDS s"
