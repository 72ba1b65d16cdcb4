"""SkyReels 2 is traced with Wan's attention: its own is the same but for how it writes what it turned."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path


def processor(module: str, prefix: str) -> tuple[list[str], list[str]]:
    """The statements of a processor's call, in Wan's words, without the rotation; and those of the rotation."""
    spec = importlib.util.find_spec("mindone")
    assert spec is not None
    assert spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / "diffusers/models/transformers" / f"{module}.py"
    (found,) = (
        node
        for node in ast.parse(file.read_text(encoding="utf-8").replace(prefix, "Wan")).body
        if isinstance(node, ast.ClassDef) and node.name == "WanAttnProcessor"
    )
    (call,) = (node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__call__")
    (turning,) = (node for node in ast.walk(call) if isinstance(node, ast.FunctionDef) and node is not call)
    rotation = [ast.unparse(statement) for statement in turning.body]
    turning.body = [ast.Pass()]
    return [ast.unparse(statement) for statement in call.body], rotation


def test_sky_reels_attends_as_wan_does() -> None:
    theirs, in_place = processor("transformer_skyreels_v2", "SkyReelsV2")
    ours, stacked = processor("transformer_wan", "Wan")
    assert theirs == ours
    assert in_place[:3] == stacked[:3]
    assert in_place[3:] == [
        "out = mint.empty_like(hidden_states)",
        "out[..., 0::2] = x1 * cos - x2 * sin",
        "out[..., 1::2] = x1 * sin + x2 * cos",
        "return out.type_as(hidden_states)",
    ]
    assert stacked[3:] == [
        "out1 = x1 * cos - x2 * sin",
        "out2 = x1 * sin + x2 * cos",
        "out = mint.stack([out1, out2], dim=-1).flatten(-2)",
        "return out.type_as(hidden_states)",
    ]
