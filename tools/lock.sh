#!/usr/bin/env bash
# Writes requirements.lock from pyproject.toml: bash tools/lock.sh [--upgrade | --upgrade-package NAME]...
# And requirements-mindspore-2.10.lock, the same with that MindSpore; and requirements-lite.lock, for the one release of
# MindSpore Lite that the tests run.
# All extras but the other version's, Python 3.11 on Linux; the hashes of every file of a release, so that both x86_64 and aarch64
# install from it. Without options, versions already locked stay. No index address is written: whoever
# installs uses their own, and the hashes say whether it served the same files.
# shellcheck source=tools/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

cd -- "$ROOT"
if [ -x "$VENV/bin/uv" ]; then
    uv="$VENV/bin/uv"
else
    uv="$(command -v uv)" || fail "uv is needed to write the lock: run bash tools/test.sh first, or install uv"
fi
# lock_project TRACE_EXTRA LOCK [uv option]...
lock_project() {
    local extra="$1" lock="$2"
    shift 2
    "$uv" pip compile pyproject.toml --quiet --extra "$extra" --extra verify --extra store --extra farm --extra docs --extra dev --generate-hashes \
        --python-version 3.11 --python-platform linux --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "bash tools/lock.sh" --output-file "$lock" "$@"
}
lock_project trace requirements.lock "$@"
# Versions in the file that is written to stay: begun with the first lock, the second differs in MindSpore alone.
cp -- requirements.lock requirements-mindspore-2.10.lock
lock_project trace-2-10 requirements-mindspore-2.10.lock
"$uv" pip compile - --quiet --generate-hashes --python-version 3.7 \
    --python-platform linux --no-emit-index-url --no-emit-find-links --no-annotate \
    --custom-compile-command "bash tools/lock.sh" --output-file requirements-lite.lock "$@" <<<"mindspore-lite==2.0.0"
for lock in requirements.lock requirements-mindspore-2.10.lock requirements-lite.lock; do
    say "$lock: $(grep -c '==' "$lock") packages"
done
