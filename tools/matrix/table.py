"""The matrix as Markdown, made from what came of its rows: the same rows give the same bytes.

Errors are told in steps, so that another machine's last digits do not change the table. Imports no MindSpore.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attnfuse.names import counted

Found = Mapping[str, Any]

_STATIC = {True: "yes", False: "**no**", None: "not possible"}

_HEAD = """\
# The matrix

<!-- Made by python -m tools.matrix; do not edit. -->

Every class that attnfuse has inputs for, and others that mindone 0.5.0 has, small, with random weights: each row is one
component in one type, compiled for MindSpore Lite on ascend910b with `--verify full`. The pipelines are those of
`tests/support/small_models`; those called `alone/…` are single models that were given what they are called with
(`--inputs`), as anybody may. No device ran any of it.

- *sites*: the Softmax and fused attention nodes of the traced graph, by what became of them; codes are in
  [codes.md](codes.md).
- *unsupported*: nodes of the result of operators that MindSpore Lite does not take, 0 is deployable.
- *static*: MindSpore's own inference over the result agrees; "not possible" where it rejects the traced graph too.
- *full*: the largest relative error of an output against a float64 run of the original, rounded up, and how much of
  what is allowed the worst output, and the worst site alone, comes to, rounded up to tenths.
"""


def render(found: Sequence[Found], lacking: Sequence[Found] = ()) -> str:
    """The whole table; `lacking` are rows nothing has come of yet."""
    traced = [one for one in found if one["traced"]]
    lines = [_HEAD, *_ages(found, lacking), *_totals(found, traced), "", "## Traced", ""]
    lines += ["| configuration | class | type | sites | unsupported | static | full |", "|" + " --- |" * 7]
    lines += [line(one) for one in traced]
    notes = [(one, reason) for one in traced for reason in one.get("reasons", ())]
    if notes:
        lines += ["", "### Why sites are kept or missed", ""]
        lines += [f"- {rows}: {reason}" for reason, rows in _grouped((r, _label(one)) for one, r in notes).items()]
    failed = [(one, text) for one in traced for text in _failures(one)]
    if failed:
        lines += ["", "### What failed", "", *(f"- {_label(one)}: {text}" for one, text in failed)]
    lines += ["", "## Not traced", "", "| configuration | class | types | why |", "|" + " --- |" * 4]
    causes: dict[tuple[str, str, str], list[str]] = {}
    for one in found:
        if not one["traced"]:
            causes.setdefault((_configuration(one), one["class_name"], one["reason"]), []).append(one["dtype"])
    lines += [f"| {name} | {kind} | {', '.join(types)} | {_cell(why)} |" for (name, kind, why), types in causes.items()]
    if lacking:
        lines += ["", "## Not run", "", "| configuration | class | type |", "|" + " --- |" * 3]
        lines += [f"| {_configuration(one)} | {one['class_name']} | {one['dtype']} |" for one in lacking]
    return "\n".join(lines) + "\n"


def line(one: Found) -> str:
    """The table's line for one traced row."""
    cells = [_configuration(one), one["class_name"], one["dtype"]]
    if "error" in one:
        return f"| {' | '.join(cells)} | — | — | — | **failed** |"
    sites = ", ".join(f"{count} {what}" for what, count in one["sites"].items()) or "none"
    unsupported = ", ".join(f"{count} {op}" for op, count in one["unsupported"].items()) or "0"
    full = "**failed**"
    if one["full"]:
        full = f"{_rounded(one['error_of_outputs'])}; {_tenths(one['share_of_outputs'])}"
        full += f", {_tenths(one['share_of_sites'])}" if one["sites"].get("fused") else ""
    cells += [sites, unsupported, _STATIC[one["static"]], full]
    return f"| {' | '.join(cells)} |"


def totals(found: Sequence[Found]) -> dict[str, int]:
    """What the rows add up to."""
    traced = [one for one in found if one["traced"]]
    sites: Counter[str] = Counter()
    for one in traced:
        for what, count in one.get("sites", {}).items():
            sites[what.partition(":")[0]] += count
    return {
        "rows": len(found),
        "configurations": len({_configuration(one) for one in found}),
        "configurations traced": len({_configuration(one) for one in traced}),
        "classes": len({one["class_name"] for one in found}),
        "classes traced": len({one["class_name"] for one in traced}),
        "rows traced": len(traced),
        "rows verified": sum(1 for one in traced if "error" not in one and one["full"]),
        "rows deployable": sum(1 for one in traced if "error" not in one and not one["unsupported"]),
        **{f"sites {what.replace('_', ' ')}": sites[what] for what in ("fused", "kept", "missed", "not_attention")},
    }


def _ages(found: Sequence[Found], lacking: Sequence[Found]) -> Iterator[str]:
    """What tells of rows that are older than others, or are not there; nothing where all are of one code."""
    counts = [count for _, count in Counter(one.get("code", "") for one in found).most_common()]
    if len(counts) > 1:
        told = f"{', '.join(map(str, counts[:-1]))} and {counts[-1]}"
        yield f"The rows were made by {len(counts)} states of the code: {told} rows by each."
        yield "`python -m tools.matrix` makes those again that are not of the present one."
        yield ""
    if lacking:
        yield f"Nothing has come of {counted(len(lacking), 'row')} yet: see the end."
        yield ""


def _totals(found: Sequence[Found], traced: Sequence[Found]) -> Iterator[str]:
    yield "| of all rows | |"
    yield "| --- | --- |"
    for what, count in totals(found).items():
        yield f"| {what} | {count} |"


def _failures(one: Found) -> Iterator[str]:
    if "error" in one:
        yield str(one["error"])
    elif not one["full"]:
        yield from one["findings"]


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    rows: dict[str, list[str]] = {}
    for reason, row in pairs:
        rows.setdefault(reason, []).append(row)
    return {reason: ", ".join(names) for reason, names in rows.items()}


def _configuration(one: Found) -> str:
    return f"{one['group']}/{one['component']}" if one["group"].partition("/")[0] != "alone" else str(one["group"])


def _label(one: Found) -> str:
    return f"{_configuration(one)} ({one['dtype']})"


def _rounded(error: float) -> str:
    """Up to one digit: 3e-4."""
    if error == 0.0:
        return "0"
    exponent = math.floor(math.log10(error))
    digit = math.ceil(error / 10.0**exponent)
    return f"1e{exponent + 1}" if digit == 10 else f"{digit}e{exponent}"


def _tenths(share: float) -> str:
    return f"{math.ceil(share * 10) / 10:.1f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
