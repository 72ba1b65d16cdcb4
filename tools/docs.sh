#!/usr/bin/env bash
# The documentation site, in build/site/html: bash tools/docs.sh
# Warnings are errors: a link that leads nowhere, a page in no table of contents, a heading that skips a level.
# shellcheck source=tools/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

environment
cd -- "$ROOT"
sphinx=("$VENV/bin/python" -m sphinx --fail-on-warning --keep-going --quiet --fresh-env)
"${sphinx[@]}" --builder html --doctree-dir build/site/doctrees docs build/site/html
# What is to be translated; a page that cannot be taken apart into sentences is noticed here.
"${sphinx[@]}" --builder gettext --doctree-dir build/site/gettext-doctrees docs build/site/gettext
say "the site is in build/site/html/index.html"
