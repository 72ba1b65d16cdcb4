"""Write the parts of the documentation that are made from data: the site codes, the identities, the target limits.

Usage: python tools/docs.py [FOLDER]; FOLDER is where to write, by default docs/. A test holds docs/ to this output.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from attnfuse.codes import CODES
from attnfuse.targets.limits import LIMITS
from attnfuse_passes.attention.peelers import all_peelers

DOCS = Path(__file__).resolve().parent.parent / "docs"
_MADE = "<!-- Made by tools/docs.py from the code; edit that instead. -->"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def codes() -> str:
    """Every code a site can carry."""
    rows = ((f"`{c.code}`", "" if c.stage is None else c.stage.name.lower(), c.meaning, c.hint) for c in CODES.values())
    lines = [
        "# Codes of sites",
        "",
        _MADE,
        "",
        "Every site of a report carries one of these. The stage says how far it got: anchor (is it attention at all),",
        "structure, facts, safety, then the policy's and the target's word.",
        "",
        *_table(("code", "stage", "meaning", "what would make it match"), rows),
    ]
    return "\n".join(lines) + "\n"


def identities() -> str:
    """Every peeler, with what it reads and what it refuses."""
    lines = ["# Identities", "", _MADE, "", "What the matcher can read, one identity a peeler.", ""]
    for entry in all_peelers():
        lines += [f"## {entry.name}", "", f"`{entry.identity}`, on {', '.join(entry.ops)}", ""]
        lines += ["reads", "", *(f"- `{program}`" for program in entry.examples), ""]
        lines += ["refuses", "", *(f"- `{program}`" for program in entry.counter_examples), ""]
    return "\n".join(lines).rstrip() + "\n"


def targets() -> str:
    """The limits of the two fused operators on each SoC."""
    names = [f.name for f in dataclasses.fields(next(iter(LIMITS.values())))]
    columns = list(LIMITS)
    rows = ((name.replace("_", " "), *(_cell(getattr(LIMITS[key], name)) for key in columns)) for name in names)
    lines = [
        "# Targets",
        "",
        _MADE,
        "",
        "Read in the documentation named under source; nothing was run on a device. A SoC that is not listed for an",
        "operator does not have it, and the formula stays.",
        "",
        *_table(("limit", *(f"{node} on {soc}" for soc, node in columns)), rows),
    ]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def write(folder: Path) -> None:
    """Write all made documents into `folder`."""
    for name, text in (("codes.md", codes()), ("identities.md", identities()), ("targets.md", targets())):
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
