"""The parts of a pipeline as text: what each would be traced with, or why it would not be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from attnfuse.serialisation import to_json
from attnfuse.tracing.contract import ComponentPlan
from attnfuse.tracing.parts import Part

SCHEMA = "attnfuse.components/2"


def parts_document(parts: Sequence[Part]) -> dict[str, Any]:
    """The JSON document of `attnfuse components`."""
    return {"schema": SCHEMA, "parts": [_part_document(part) for part in parts]}


def _part_document(part: Part) -> dict[str, Any]:
    """Without places on this machine."""
    return {
        "name": part.model,
        "class": part.class_name,
        "network": part.is_network,
        "problem": part.problem or None,
        **({"aside": part.aside} if part.aside else {}),
        **({"contradictions": list(part.contradictions)} if part.contradictions else {}),
        "components": [
            {
                "name": plan.name,
                "dtype": plan.dtype,
                "dtype_from": plan.dtype_from,
                "warnings": list(plan.warnings),
                "inputs": [to_json(spec) for spec in plan.open_inputs],
                "outputs": [] if plan.call is None else [name for name, _ in plan.call.outputs],
                "tracing_patches": list(plan.patches),
                "fixed": [to_json(value) for value in plan.fixed],
            }
            for plan in part.plans
        ],
    }


def render_parts(parts: Iterable[Part]) -> str:
    """A paragraph a part."""
    lines: list[str] = []
    for part in parts:
        title = f"{part.model} ({part.class_name})"
        if not part.is_network:
            lines.append(f"{title}: {part.aside or 'nothing to compile'}")
        elif part.problem:
            lines.append(f"{title}: cannot be traced: {part.problem}")
        else:
            lines.append(title)
            for plan in part.plans:
                lines += _component(plan)
    return "\n".join(lines) + "\n"


def _component(plan: ComponentPlan) -> list[str]:
    outputs = [] if plan.call is None else [name for name, _ in plan.call.outputs]
    lines = [f"  {plan.name}, in {plan.dtype} ({plan.dtype_from})"]
    lines += [f"    warning: {warning}" for warning in plan.warnings]
    lines += [f"    {spec.name}: {spec.dtype} {_shape(spec.shape)}" for spec in plan.open_inputs]
    lines.append(f"    gives {', '.join(outputs)}")
    return lines + [f"    fixed: {one.name} = {json.dumps(one.value)}: {one.meaning}" for one in plan.fixed]


def _shape(dims: Iterable[int]) -> str:
    return f"[{', '.join('any' if size < 0 else str(size) for size in dims)}]"
