"""The attention settings found on live cells, as policy rules.

mindone keeps them on its `Attention` cells (models/attention_processor.py): `fa_force_dtype`, which
`set_flash_attention_force_cast_dtype` sets, and `_enable_flash_sdp`, which `enable_flash_sdp` sets. Which calls were
made, and on what, is not kept; only where each cell ended. So the rules are the fewest that say the same, as if they
were calls: one for a component where all its cells agree, more where they do not. A cell that stands at mindone's
default, which is also the policy's, needs none.

Reads attributes of cells, and so imports no MindSpore. May import `attnfuse.policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from attnfuse.policy import CastName, Rule

_CASTS: Mapping[str, CastName] = {"Float16": "float16", "BFloat16": "bfloat16"}

Value = TypeVar("Value", bound=str | bool)


@dataclass(slots=True)
class _Module:
    """A module and those below it. `own` is the setting of the attention that it is itself, if it is one."""

    path: str
    own: object = None
    below: dict[str, _Module] = field(default_factory=dict)


def live_rules(models: Mapping[str, Any], prefix: str) -> tuple[Rule, ...]:
    """The rules that say what is set on the cells of `models`, by component; `prefix` begins their labels ("pipe.").

    A rule that speaks of cells that are not compiled is no slip: none of them is expected to match.
    """
    rules: list[Rule] = []
    for name, model in models.items():
        cells = [(f"{name}.{path}" if path else name, cell) for path, cell in _attentions(model)]
        casts = _fewest({path: _cast_name(cell.fa_force_dtype) for path, cell in cells}, "float16")
        flash = _fewest({path: bool(cell._enable_flash_sdp) for path, cell in cells}, True)
        found = {path: _cast_text(cell.fa_force_dtype) for path, cell in cells}
        for path, cast in casts:
            text = next(t for other, t in found.items() if _below(other, path) and _name_of_text(t) == cast)
            label = f"{prefix}{path}: set_flash_attention_force_cast_dtype({text})"
            rules.append(Rule(path, label, force_cast_dtype=cast, expected=False))
        for path, enabled in flash:
            rules.append(Rule(path, f"{prefix}{path}: enable_flash_sdp({enabled})", flash=enabled, expected=False))
    return tuple(rules)


def _attentions(model: Any) -> Iterable[tuple[str, Any]]:
    """Every cell that holds the settings, with its path in the model; the model itself has an empty one."""
    for path, cell in model.cells_and_names():
        if hasattr(cell, "fa_force_dtype") and hasattr(cell, "_enable_flash_sdp"):
            yield path, cell


def _cast_text(dtype: object) -> str:
    """`None`, `float16`, `bfloat16`; another type as it calls itself."""
    name = str(dtype)
    return _CASTS.get(name, name)


def _name_of_text(text: str) -> CastName:
    return next((name for name in _CASTS.values() if name == text), "none")


def _cast_name(dtype: object) -> CastName:
    """What mindone does with the setting: only the two types it knows are cast to, all else keeps the formula."""
    return _CASTS.get(str(dtype), "none")


def _below(path: str, module: str) -> bool:
    return path == module or path.startswith(f"{module}.")


def _fewest(settings: Mapping[str, Value], default: Value) -> list[tuple[str, Value]]:
    """The fewest (module, value) pairs that give every path its value; outer modules first, the last to hold wins."""
    if not settings:
        return []
    root = _Module("")
    for path, value in settings.items():
        module = root
        for part in path.split("."):
            module = module.below.setdefault(part, _Module(f"{module.path}.{part}" if module.path else part))
        module.own = value
    values: list[Value] = sorted({*settings.values()}, key=str)
    costs: dict[tuple[str, Value], int] = {}

    def cost(module: _Module, inherited: Value) -> int:
        """How many pairs the module and all below it need where `inherited` holds already."""
        key = (module.path, inherited)
        if key not in costs:
            costs[key] = min(_cost_of(module, inherited, choice, cost) for choice in {inherited, *values})
        return costs[key]

    chosen: list[tuple[str, Value]] = []

    def choose(module: _Module, inherited: Value) -> None:
        # Where two ways cost the same: say nothing here first, then the first value in order.
        order = [inherited, *(v for v in values if v != inherited)]
        best = min(order, key=lambda choice: _cost_of(module, inherited, choice, cost))
        if best != inherited:
            chosen.append((module.path, best))
        for child in module.below.values():
            choose(child, best)

    for top in root.below.values():
        choose(top, default)
    return chosen


def _cost_of(module: _Module, inherited: Value, choice: Value, cost: Callable[[_Module, Value], int]) -> int:
    if module.own is not None and module.own != choice:
        return _IMPOSSIBLE
    return (choice != inherited) + sum(cost(child, choice) for child in module.below.values())


_IMPOSSIBLE = 1 << 30
