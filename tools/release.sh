#!/usr/bin/env bash
# A release: bash tools/release.sh VERSION
# Sets the version everywhere, dates the changelog, commits and tags, and builds into dist/: both wheels, the source
# distribution, and an SBOM of the locked environment (CycloneDX). Publishes nothing.
# shellcheck source=tools/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

[ $# -eq 1 ] || fail "usage: bash tools/release.sh VERSION"
version="$1"
[[ "$version" =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "'$version' is not of the form MAJOR.MINOR.PATCH"
environment
cd -- "$ROOT"
[ -z "$(git status --porcelain)" ] || fail "the working tree has changes: commit or stash them first"
! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || fail "the tag v$version is there already"
grep -q '^## Unreleased$' CHANGELOG.md || fail "CHANGELOG.md has no section 'Unreleased' to release"

sed -i "0,/^version = \".*\"/s//version = \"$version\"/" pyproject.toml runtime/pyproject.toml
sed -i "s/attnfuse-runtime==[0-9.]*/attnfuse-runtime==$version/" pyproject.toml
sed -i "s/^__version__ = \".*\"/__version__ = \"$version\"/" attnfuse/version.py runtime/attnfuse_runtime/__init__.py
sed -i "s/^## Unreleased\$/## Unreleased\n\n## $version - $(date -u +%F)/" CHANGELOG.md
git commit --quiet --all --message "Version $version"
git tag --annotate "v$version" --message "Version $version"

rm -rf -- dist
"$VENV/bin/uv" build --quiet --out-dir dist .
"$VENV/bin/uv" build --quiet --out-dir dist --wheel runtime
"$VENV/bin/uv" tool run --quiet --from "cyclonedx-bom==7.2.1" cyclonedx-py requirements requirements.lock \
    --output-reproducible --output-format JSON --output-file "dist/attnfuse-$version.cdx.json"
(cd dist && sha256sum -- *) >&2
say "tagged v$version; look at it, run bash tools/test.sh, then push the tag and publish dist/"
