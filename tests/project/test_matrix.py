"""docs/matrix.md is what `python -m tools.matrix` makes: it has every class, adds up, and one row is made again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from attnfuse.tracing.layout import clip_text_tensors
from attnfuse.tracing.random_weights import write_random
from attnfuse.tracing.specs import SPECS
from tests.support.small_models import SMALL
from tests.support.waiting import PATIENCE
from tools.matrix.__main__ import make_row
from tools.matrix.rows import Row, write_group
from tools.matrix.table import line, render, totals

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "matrix.md").read_text(encoding="utf-8")


def cells(section: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    _, _, rest = DOCUMENT.partition(f"\n## {section}\n")
    lines = [text for text in rest.split("\n#")[0].split("\n") if text.startswith("| ")]
    return [[cell.strip() for cell in text.strip("|").split(" | ")] for text in lines if "---" not in text][1:]


def test_every_class_of_the_specifications_is_in_it() -> None:
    told = {row[1] for section in ("Traced", "Not traced", "Not run") for row in cells(section)}
    assert {spec.class_name for spec in SPECS} <= told, "run python -m tools.matrix"


def test_its_totals_add_up() -> None:
    told = {}
    for text in DOCUMENT.partition("## Traced")[0].split("\n"):
        name, _, count = text.strip("| ").partition(" | ")
        if count.isdigit():
            told[name] = int(count)
    traced, failed = cells("Traced"), cells("Not traced")
    counted: Counter[str] = Counter()
    for row in traced:
        for part in row[3].split(", ") if row[3][:1].isdigit() else ():
            count, what = part.split(" ", 1)
            counted[what.partition(":")[0].replace("_", " ")] += int(count)
    assert told["rows traced"] == len(traced)
    assert told["rows"] == len(traced) + sum(len(row[2].split(", ")) for row in failed)
    assert told["configurations traced"] == len({row[0] for row in traced})
    assert told["rows verified"] == sum(1 for row in traced if "failed" not in row[6])
    assert told["rows deployable"] == sum(1 for row in traced if row[4] == "0")
    assert {what: told[f"sites {what}"] for what in ("fused", "kept", "missed", "not attention")} == {
        what: counted[what] for what in ("fused", "kept", "missed", "not attention")
    }


@pytest.mark.mindspore
@pytest.mark.slow
def test_a_row_made_anew_is_that_of_the_table(tmp_path: Path) -> None:
    folder, row = tmp_path / "flux", Row("flux", "text_encoder", "CLIPTextModel", "float16")
    write_group(folder, row.group)
    # As tools/matrix/weights.py draws them, which reads the tensors' names off mindone's classes.
    tensors = clip_text_tensors(SMALL["flux"].models["text_encoder"])
    write_random(folder / "text_encoder" / "model.safetensors", tensors, "float32", row.class_name)
    assert line(make_row(folder, row, tmp_path, timeout=PATIENCE)) in DOCUMENT.split("\n")


def found(**changes: Any) -> dict[str, Any]:
    """What came of a row that went well."""
    return {
        "group": "sd3",
        "component": "transformer",
        "class_name": "SD3Transformer2DModel",
        "dtype": "float16",
        "traced": True,
        "sites": {"fused": 2},
        "reasons": [],
        "unsupported": {},
        "static": True,
        "full": True,
        "findings": [],
        "error_of_outputs": 0.00123,
        "share_of_outputs": 0.41,
        "share_of_sites": 0.2,
        **changes,
    }


def test_a_line_tells_sites_operators_and_errors() -> None:
    assert line(found()) == (
        "| sd3/transformer | SD3Transformer2DModel | float16 | 2 fused | 0 | yes | 2e-3; 0.5, 0.2 |"
    )
    odd = found(group="alone/x", sites={"missed: mask": 1}, unsupported={"Sort": 2}, static=False, full=False)
    assert line(odd).endswith("| float16 | 1 missed: mask | 2 Sort | **no** | **failed** |")
    assert line(odd).startswith("| alone/x |")
    assert line(found(static=None, full=False)).endswith("| 0 | not possible | **failed** |")
    assert line(found(error="the process died")).endswith("| float16 | — | — | — | **failed** |")


def test_what_went_wrong_is_told_and_not_counted() -> None:
    rows = [
        found(),
        found(dtype="float32", full=False, findings=["output 0 is wrong"]),
        found(dtype="bfloat16", error="the process died", sites={}),
        found(group="wan", sites={"missed: mask": 1}, reasons=["missed mask: of an unknown kind"]),
        found(group="ltx", traced=False, reason="mindone mutates a member"),
    ]
    counted = totals(rows)
    assert (counted["rows"], counted["rows traced"], counted["rows verified"]) == (5, 4, 2)
    assert (counted["configurations"], counted["configurations traced"]) == (3, 2)
    assert (counted["sites fused"], counted["sites missed"]) == (4, 1)
    text = render(rows, [found(group="mochi")])
    assert "- sd3/transformer (float32): output 0 is wrong" in text
    assert "- sd3/transformer (bfloat16): the process died" in text
    assert "- wan/transformer (float16): missed mask: of an unknown kind" in text
    assert "| ltx/transformer | SD3Transformer2DModel | float16 | mindone mutates a member |" in text
    assert text.endswith(
        "## Not run\n\n| configuration | class | type |\n| --- | --- | --- |\n"
        "| mochi/transformer | SD3Transformer2DModel | float16 |\n"
    )


def test_rows_of_other_code_are_told_by_how_many() -> None:
    rows = [found(code="a"), found(code="b", dtype="float32"), found(code="a", dtype="bfloat16"), found(code="c")]
    text = render(rows)
    assert "made by 3 states of the code: 2, 1 and 1 rows by each" in text
    assert "Nothing has come of" not in text
    assert "states of the code" not in render([one | {"code": "a"} for one in rows])
    assert "Nothing has come of 1 row yet" in render(rows, [found(group="mochi")])
