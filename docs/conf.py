"""How Sphinx makes the documentation site of these pages: bash tools/docs.sh.

The pages are read on a code host as well, so they are plain Markdown and link to each other by file name.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "attnfuse"
author = "the attnfuse developers"
version = release = _PROJECT["version"]
# No year: the same sources give the same pages.
project_copyright = author
extensions = ["myst_parser"]
exclude_patterns = ["build"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
# Links may name a heading of another page, as a code host makes its anchors.
myst_heading_anchors = 4

# Every link to a page, a heading or a file has to lead somewhere.
nitpicky = True
# Samples are output of a terminal or of a tool, and show "…" where something was left out.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"attnfuse {version}"
html_show_sourcelink = False
html_last_updated_fmt = None

# Translations: `sphinx-build -b gettext docs build/gettext` writes what is to be translated, docs/locale has what is.
locale_dirs = ["locale"]
gettext_compact = False
gettext_uuid = False

# The pages name addresses of others as sources of facts; whether these answer is not this project's doing.
linkcheck_ignore = [r"https?://"]
