# What every tool script shares: where the repository is, and one environment, made from nothing when needed.
# Sourced, never run. Defines ROOT, VENV and LOCK, and the functions below. Needs bash, a Python 3.11 and pip.
# ATTNFUSE_MINDSPORE chooses the MindSpore in it, 2.7 or 2.10: each version has an environment and a lock of its own.
# The tests want another one, beside it, with a CPython 3.7: see lite_environment.

set -euo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
BASE_VENV="${ATTNFUSE_VENV:-$ROOT/.venv}"

# Whatever the caller's shell points Python at must not leak into what is tested.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONPYCACHEPREFIX PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION
export PYTHONDONTWRITEBYTECODE=1

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

MINDSPORE="${ATTNFUSE_MINDSPORE:-2.7}"
case "$MINDSPORE" in
    2.7) VENV="$BASE_VENV" LOCK="$ROOT/requirements.lock" ;;
    2.10) VENV="$BASE_VENV-2.10" LOCK="$ROOT/requirements-mindspore-2.10.lock" ;;
    *) fail "ATTNFUSE_MINDSPORE is '$MINDSPORE': the versions attnfuse is tested with are 2.7 and 2.10" ;;
esac

# Prints the path of a CPython 3.11. A pyenv shim may exist and not run, so each candidate is asked.
find_python() {
    local candidate
    for candidate in "${ATTNFUSE_PYTHON:-}" python3.11 python3 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11*/bin/python /usr/local/bin/python3.11 /usr/bin/python3.11; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1 </dev/null; then
            command -v -- "$candidate"
            return 0
        fi
    done
    return 1
}

# The environment holds what LOCK pins and this checkout, editable.
# Marker file, one line each: the digest of what was installed, and of the project's own metadata. It is
# created before anything else, so that a half-made environment is known as ours and remade, and a folder
# that somebody else made is never deleted.
# Python keeps what it compiles in VENV/bytecode, the checkout's modules too, and compiles what is imported: to compile
# all that is installed takes a minute.
environment() {
    local marker="$VENV/attnfuse-environment" want_lock want_project python started=$SECONDS
    # Two tools started together must not build the same folder.
    exec 9>"$VENV.lock"
    if command -v flock >/dev/null; then
        flock 9
    fi
    want_lock="$(digest "$LOCK")"
    want_project="$ROOT $(digest "$ROOT/pyproject.toml")"

    if [ -e "$VENV" ] && [ ! -f "$marker" ]; then
        fail "$VENV was not made by these tools: move it away, or set ATTNFUSE_VENV to another folder"
    fi
    if [ "$(sed -n 1p "$marker" 2>/dev/null || true)" != "$want_lock" ]; then
        python="$(find_python)" || fail "no Python 3.11 found: install one, or set ATTNFUSE_PYTHON to its path"
        say "environment: installing the locked requirements into $VENV with $python (some minutes, about 4 GB)"
        rm -rf -- "$VENV"
        mkdir -p -- "$VENV"
        : >"$marker"
        # Debian's python3.11 comes without ensurepip; the base interpreter's pip can then do the installing.
        "$python" -m venv "$VENV" >/dev/null 2>&1 </dev/null || "$python" -m venv --without-pip "$VENV" </dev/null \
            || fail "$python cannot make a virtual environment"
        install_lock "$python" || fail "the locked requirements did not install (see above)"
        printf '%s\n' "$want_lock" >"$marker"
    fi
    if [ "$(sed -n 2p "$marker")" != "$want_project" ]; then
        python="$(find_python || true)"
        install_locked "${python:-python3}" -e "$ROOT" || fail "attnfuse itself did not install (see above)"
        printf '%s\n%s\n' "$want_lock" "$want_project" >"$marker"
        say "environment: ready in $((SECONDS - started)) s"
    fi
    exec 9>&-
    unset PYTHONDONTWRITEBYTECODE
    export PYTHONPYCACHEPREFIX="$VENV/bytecode"
}

# Prints the path of a CPython 3.7 on PATH or among pyenv's versions. A pyenv shim may exist and not run.
find_lite_python() {
    local candidate pyenv_root
    pyenv_root="$(pyenv root 2>/dev/null </dev/null || true)"
    for candidate in python3.7 ${pyenv_root:+"$pyenv_root"/versions/3.7.*/bin/python}; do
        if "$candidate" -c 'import pip, sys, venv; sys.exit(sys.version_info[:2] != (3, 7))' >/dev/null 2>&1 </dev/null
        then
            command -v -- "$candidate"
            return 0
        fi
    done
    return 1
}

# MindSpore Lite 2.0.0, which the tests run what is emitted for Lite in. It has wheels for CPython 3.7 only, so it gets
# an environment of its own, BASE_VENV-lite, for both versions of MindSpore. Exports ATTNFUSE_LITE_PYTHON, empty where there is no 3.7: the tests read it.
# The marker file holds the digest of the lock, as in environment.
lite_environment() {
    local venv="$BASE_VENV-lite" lock="$ROOT/requirements-lite.lock" python started=$SECONDS
    local marker="$venv/attnfuse-environment"
    export ATTNFUSE_LITE_PYTHON=""
    if ! python="$(find_lite_python)"; then
        say "MindSpore Lite's tests are not run: its one release for a plain CPU (2.0.0) needs CPython 3.7, none found"
        return 0
    fi
    exec 9>"$venv.lock"
    if command -v flock >/dev/null; then
        flock 9
    fi
    if [ -e "$venv" ] && [ ! -f "$marker" ]; then
        fail "$venv was not made by these tools: move it away, or set ATTNFUSE_VENV to another folder"
    fi
    if [ "$(sed -n 1p "$marker" 2>/dev/null || true)" != "$(digest "$lock")" ]; then
        say "environment: installing MindSpore Lite 2.0.0 into $venv with $python (about 600 MB)"
        rm -rf -- "$venv"
        mkdir -p -- "$venv"
        : >"$marker"
        "$python" -m venv "$venv" </dev/null || fail "$python cannot make a virtual environment"
        "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-deps \
            --only-binary :all: --require-hashes -r "$lock" </dev/null \
            || fail "MindSpore Lite did not install (see above)"
        digest "$lock" >"$marker"
        say "environment: MindSpore Lite ready in $((SECONDS - started)) s"
    fi
    exec 9>&-
    export ATTNFUSE_LITE_PYTHON="$venv/bin/python"
}

# What LOCK pins, into VENV: install_lock BASE_PYTHON. Wheels only: nobody's setup.py runs here.
# uv does it in a quarter of pip's time, and in seconds where it has the files. pip brings it, as LOCK pins it, and does
# the rest itself where uv cannot: uv reads none of pip's configuration but the index, which is handed over.
install_lock() {
    local base="$1" only="$VENV/attnfuse-uv" index
    local how=(--only-binary :all: --require-hashes)
    if [ "${ATTNFUSE_INSTALLER:-uv}" = uv ]; then
        awk '/^[^ ]/ { wanted = /^uv==/ } wanted' "$LOCK" >"$only"
        index="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$("$base" -m pip config get global.index-url 2>/dev/null || true)}}"
        if install_locked "$base" --no-compile "${how[@]}" -r "$only" && [ -x "$VENV/bin/uv" ] \
            && "$VENV/bin/uv" pip install --quiet --no-deps --python "$VENV/bin/python" "${how[@]}" \
                ${index:+--default-index "$index"} -r "$LOCK" </dev/null; then
            return 0
        fi
        say "environment: uv did not install them; pip does"
    fi
    install_locked "$base" --no-compile "${how[@]}" -r "$LOCK"
}

# pip install into VENV: install_locked BASE_PYTHON ARGUMENT...
# The lock is complete, so nothing else is resolved (--no-deps) nor fetched to build with.
install_locked() {
    local base="$1" runner
    shift
    if [ -x "$VENV/bin/pip" ]; then
        runner=("$VENV/bin/python" -m pip)
    else
        runner=("$base" -m pip --python "$VENV/bin/python")
    fi
    "${runner[@]}" install --quiet --no-input --disable-pip-version-check --no-deps --no-build-isolation "$@" </dev/null
}

digest() { sha256sum -- "$1" | cut -d ' ' -f 1; }
