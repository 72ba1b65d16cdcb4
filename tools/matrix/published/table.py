"""What became of the rows in published widths as Markdown: the same results give the same bytes.

Imports no MindSpore.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from tools.matrix.published.rows import WideRow
from tools.matrix.rows import cause_of

Found: TypeAlias = Mapping[str, Any]
Told: TypeAlias = Sequence[tuple[WideRow, Found | None]]
Made: TypeAlias = Sequence[tuple[WideRow, Found]]

_HEAD = """\
# Real widths

<!-- Made by python -m tools.matrix.widths; do not edit. -->

The configurations of [the matrix](matrix.md) in the widths of published models: heads, head_dim, channels,
cross-attention widths and lengths are real. Of each kind of block that repeats there are two; a level of a UNet or of
an autoencoder has as many as published. Each was traced in float16 on CPU, without weights, and rewritten for both
runtimes on ascend910b. Nothing here was computed: numbers are compared in the matrix, small. No device ran any of it.

The widths are in `tools/matrix/published`, which has what differs from the defaults of mindone's classes. They were
written down as the models are known, and were not compared with files of checkpoints. Lengths are the pipelines' own
defaults. Where an autoencoder takes a film, it is short and its frames small (64 × 96 pixels), as it is traced chunk by
chunk; its channels are real. Language models have a thousand words, on whose number nothing else depends.

- *heads × head_dim*, *lengths*: of query, and of query × key, as far as the graph knows them; the first few.
- *lite*, *mindspore*: fused of all sites (Softmax and fused attention nodes of the source).
- *left to Lite*: nodes of the result for `--runtime lite` that keep it from being deployed; 0 is deployable.
"""

_SHOWN = 4


def render(rows: Told) -> str:
    """The whole page."""
    made = [(row, found) for row, found in rows if found is not None and "error" not in found]
    failed = [(row, str(found["error"])) for row, found in rows if found is not None and "error" in found]
    failed += [(row, row.problem) for row, _ in rows if row.plan is None]
    lines = [_HEAD, *_totals(rows, made, failed), "", "## Rewritten", ""]
    lines += [
        "| configuration | published model | heads × head_dim | lengths | lite | mindspore | left to Lite |",
        "|" + " --- |" * 7,
        *(_line(row, found) for row, found in made),
    ]
    lines += ["", "## Not fused", "", *(list(_not_fused(made)) or ["Nothing."])]
    assumed = list(_assumed(made))
    if assumed:
        lines += ["", "## What is assumed of values", "", *assumed]
    lines += ["", "## No graph", "", "| configuration | published model | why |", "|" + " --- |" * 3]
    lines += [f"| {row.name} | {row.model} | {_cell(_why(row, text))} |" for row, text in failed]
    lacking = [row for row, found in rows if found is None and row.plan is not None]
    if lacking:
        lines += ["", "## Not run", "", "`python -m tools.matrix.widths` makes these.", ""]
        lines += [f"- {row.name} ({row.model})" for row in lacking]
    return "\n".join(lines) + "\n"


def totals(rows: Told) -> dict[str, int]:
    """What the rows add up to."""
    made = [found for _, found in rows if found is not None and "error" not in found]
    counts = {"configurations": len(rows), "configurations rewritten": len(made)}
    for runtime in ("lite", "mindspore"):
        statuses = Counter(site["status"] for found in made for site in found[runtime]["sites"])
        counts[f"sites, {runtime}"] = statuses.total()
        counts |= {f"sites {status.replace('_', ' ')}, {runtime}": n for status, n in sorted(statuses.items())}
    counts["configurations deployable, lite"] = sum(not found["lite"]["refused"] for found in made)
    return counts


def _totals(rows: Told, made: Made, failed: Sequence[tuple[WideRow, str]]) -> Iterator[str]:
    yield "| of all configurations | |"
    yield "| --- | --- |"
    for what, count in totals(rows).items():
        yield f"| {what} | {count} |"
    yield f"| configurations without a graph | {len(failed)} |"
    yield f"| configurations not run | {len(rows) - len(made) - len(failed)} |"


def _line(row: WideRow, found: Found) -> str:
    sites = found["lite"]["sites"]
    heads = _several(f"{site['heads'] or '?'} × {site['head_dim'] or '?'}" for site in sites)
    lengths = _several(f"{site['query'] or '?'} × {site['key'] or '?'}" for site in sites)
    refused = ", ".join(f"{count} {what}" for what, count in found["lite"]["refused"].items()) or "0"
    cells = [row.name, row.model, heads, lengths, _fused(found["lite"]), _fused(found["mindspore"]), refused]
    return f"| {' | '.join(map(_cell, cells))} |"


def _fused(of_runtime: Found) -> str:
    sites = of_runtime["sites"]
    return f"{sum(site['status'] == 'fused' for site in sites)} of {len(sites)}" if sites else "none"


def _several(texts: Iterator[str]) -> str:
    found = list(dict.fromkeys(texts))
    more = ["…"] if len(found) > _SHOWN else []
    return ", ".join(found[:_SHOWN] + more) or "—"


def _not_fused(made: Made) -> Iterator[str]:
    """Each reason once, with how many sites of which rows it is of."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for row, found in made:
        for runtime in ("lite", "mindspore"):
            for site in found[runtime]["sites"]:
                if site["status"] != "fused":
                    reason = f"{site['status']} {site['code']}: {_without_place(site['reason'])}"
                    counts.setdefault(reason, {}).setdefault(row.name, Counter())[runtime] += 1
    for reason, rows in counts.items():
        told = (f"{name} ({', '.join(f'{n} {runtime}' for runtime, n in of.items())})" for name, of in rows.items())
        yield f"- {reason}: {', '.join(told)}"


def _assumed(made: Made) -> Iterator[str]:
    assumed: dict[str, list[str]] = {}
    for row, found in made:
        for text in dict.fromkeys(text for site in found["lite"]["sites"] for text in site["assumptions"]):
            assumed.setdefault(text, []).append(row.name)
    for text, names in assumed.items():
        yield f"- {text}: {', '.join(names)}"


def _without_place(reason: str) -> str:
    """The reason without the value it was found at, which is another for each site."""
    return re.sub(r" at \S+:\d+$", "", reason)


def _why(row: WideRow, text: str) -> str:
    return ": ".join(filter(None, (text, cause_of(row.name) if row.name.startswith("alone/") else "")))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
