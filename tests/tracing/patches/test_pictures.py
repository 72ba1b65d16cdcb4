"""Würstchen's decoder is traced as mindone has it, but for the list that its levels are put into."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

OTHERWISE = (
    ("level_outputs = []", "level_outputs: tuple[Any, ...] = ()"),
    ("level_outputs.insert(0, x)", "level_outputs = (x, *level_outputs)"),
)


def body_of(file: Path, function: str) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    (found,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
    return "\n".join(map(ast.unparse, found.body))


def test_levels_are_handed_on_as_mindone_does() -> None:
    spec = importlib.util.find_spec("mindone")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "diffusers/pipelines/wuerstchen"
    theirs = body_of(folder / "modeling_wuerstchen_diffnext.py", "_down_encode")
    for old, new in OTHERWISE:
        assert theirs.count(old) == 1
        theirs = theirs.replace(old, new)
    ours = body_of(Path(__file__).resolve().parents[3] / "attnfuse/tracing/patches/pictures.py", "down")
    assert ours.replace("modeling.", "") == theirs
