"""Write tests/targets/data: what CANN's own tiling said of nodes of fused operators, in a form that a test reads.

    python tools/verdicts.py PFA COMPOSITES

PFA and COMPOSITES are JSON files of verdicts: of PromptFlashAttention (`{"columns": …, "source": …, "cases": […]}`) and
of composite operators (`[{"op", "soc", "dtypes", "shapes", "attributes", "verdict", "reason"}, …]`). Every case
is kept, once. Cases that differ in SoC, types or precision only share a line: its last column has a letter for each,
`+` where the tiling accepts, `.` where it was not asked, else the key of a reason at the head of the section. Numbers
in a reason are written #. `tests/targets/verdicts.py` reads the files.
"""

from __future__ import annotations

import argparse
import json
import re
import string
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "targets" / "data"
KEYS = string.ascii_letters + string.digits
ACCEPTED, NOT_ASKED = "+", "."
LONGEST = 120

PFA_COLUMNS = tuple(product(("910b", "310p"), ("float16", "bfloat16"), (0, 1)))
COMPOSITE_SOCS = ("ascend910b", "ascend910_93", "ascend310p")


def reason(text: str) -> str:
    """A reason without its numbers, so that there are few of them."""
    return re.sub(r"\d+", "#", text)[:LONGEST].strip()


def shape(dims: Sequence[int] | None) -> str:
    """`2x8x77`, `-` for an absent tensor."""
    return "-" if dims is None else "x".join(map(str, dims))


def keyed(reasons: Iterable[str]) -> dict[str, str]:
    """A letter for each reason."""
    return dict(zip(sorted(set(reasons)), KEYS, strict=False))


def lines(rows: dict[str, dict[Any, str]], columns: Sequence[Any], keys: dict[str, str]) -> list[str]:
    """A line for each row, with the letters of its verdicts ("" is accepted) in the order of `columns`."""
    found = []
    for message, verdicts in rows.items():
        letters = [NOT_ASKED if c not in verdicts else keys.get(verdicts[c], ACCEPTED) for c in columns]
        found.append(f"{message} {''.join(letters)}")
    return sorted(found)


def pfa_table(document: dict[str, Any]) -> str:
    """The file of PromptFlashAttention."""
    rows: dict[str, dict[Any, str]] = defaultdict(dict)
    for soc, dtype, layout, query, key, heads, kv_heads, mode, precise, mask, bias, accepted, why in document["cases"]:
        tensors = (f"{t[0]}:{shape(t[1])}" if t else "-" for t in (mask, bias))
        message = " ".join((layout, shape(query), shape(key), f"{heads}/{kv_heads}", str(mode), *tensors))
        verdict = "" if accepted else reason(why)
        if rows[message].setdefault((soc, dtype, precise), verdict) != verdict:
            raise SystemExit(f"two verdicts on {soc} {dtype} {precise} {message}")
    keys = keyed(why for verdicts in rows.values() for why in verdicts.values() if why)
    return "\n".join(
        (
            f"# {document['source']}",
            "# layout query key heads/kv_heads sparse_mode mask bias, a letter for each SoC, dtype and inner_precise",
            "columns " + " ".join("/".join(map(str, column)) for column in PFA_COLUMNS),
            *(f"{key} {why}" for why, key in keys.items()),
            "",
            *lines(rows, PFA_COLUMNS, keys),
            "",
        )
    )


def composite_section(op: str, cases: Iterable[dict[str, Any]]) -> list[str]:
    """One operator's part of the file of composites."""
    rows: dict[str, dict[Any, str]] = defaultdict(dict)
    names: dict[str, None] = {}
    for case in cases:
        names |= dict.fromkeys(case["attributes"])
        attributes = ",".join(json.dumps(value) for value in case["attributes"].values())
        message = " ".join((attributes, *map(shape, case["shapes"])))
        why = "" if case["verdict"] == "ok" else f"{case['verdict']}: {reason(case['reason'])}"
        column = case["soc"], ",".join(dtype or "-" for dtype in case["dtypes"])
        if rows[message].setdefault(column, why) != why:
            raise SystemExit(f"two verdicts on {op} {column} {message}")
    types = sorted({types for verdicts in rows.values() for _, types in verdicts})
    columns = list(product(COMPOSITE_SOCS, types))
    keys = keyed(why for verdicts in rows.values() for why in verdicts.values() if why)
    return [
        f"[{op}] {','.join(names)}",
        "columns " + " ".join("/".join(column) for column in columns),
        *(f"{key} {why}" for why, key in keys.items()),
        "",
        *lines(rows, columns, keys),
        "",
    ]


def composites_table(cases: Sequence[dict[str, Any]]) -> str:
    """The file of the composite operators."""
    found = [
        "# CANN's own host-side tiling, run on x86-64 with platform figures of 910B2, 910_9391 and 310P3; kernel lists",
        "# of CANN 8.1.RC1 (no_kernel) and kernel sources (unsafe, wrong_result), which were read.",
        "# attributes and shapes, and for each SoC and types a letter",
        "",
    ]
    for op in sorted({case["op"] for case in cases}):
        found += composite_section(op, (case for case in cases if case["op"] == op))
    return "\n".join(found)


def main() -> None:
    """Read both files, write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pfa", type=Path)
    parser.add_argument("composites", type=Path)
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name, table, source in (
        ("prompt_flash_attention.txt", pfa_table, given.pfa),
        ("composites.txt", composites_table, given.composites),
    ):
        text = table(json.loads(source.read_text(encoding="utf-8")))
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
