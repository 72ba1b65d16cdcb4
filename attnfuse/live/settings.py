"""The attention settings found on a live pipeline, as policy rules.

mindone keeps them on its `Attention` cells (models/attention_processor.py): `fa_force_dtype`, which
`set_flash_attention_force_cast_dtype` sets, and `_enable_flash_sdp`, which `enable_flash_sdp` sets. Which calls were
made, and on what, is not kept; only where each cell ended. So the rules are the fewest that say the same, as if they
were calls: one for a component where all its cells agree, more where they do not. What stands at mindone's default,
which is also the policy's, needs none.

A call on a pipeline covers everything in it, and leaves no trace on text encoders and other parts without such cells.
What `attnfuse.calls` noted of a part says what holds there. Where it noted nothing (attnfuse was imported after the
calls), a part without such cells goes with the pipeline, as far as the others tell what was said of that: where one
call on the pipeline says as much with no more rules, it is taken to have been made; of two such calls the one that
keeps the formula, which is right whatever was meant.

Reads attributes of cells, and so imports no MindSpore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from attnfuse.calls import noted
from attnfuse.errors import TraceError
from attnfuse.names import shortened
from attnfuse.policy import LONGEST_PATTERN, CastName, Rule

_CASTS: Mapping[str, CastName] = {"Float16": "float16", "BFloat16": "bfloat16"}

Value = TypeVar("Value", bound=str | bool)


@dataclass(slots=True)
class _Module:
    """A module and those below it. `own` is what stands at it, if anything: on an attention, or noted of a part."""

    path: str
    own: object = None
    below: dict[str, _Module] = field(default_factory=dict)


def live_rules(models: Mapping[str, Any], prefix: str) -> tuple[Rule, ...]:
    """The rules that say what is set on `models`, by the pipeline's attribute; `prefix` begins their labels ("pipe.").

    Of a pipeline all models must be given, those too that are not compiled. A rule that speaks of cells that are not
    compiled is no mistake: none of them is expected to match. Raises TraceError for a cell whose path is longer than a
    rule's pattern may be.
    """
    rules = [
        Rule(match, f"{place}: {_CAST.method}({text})", force_cast_dtype=cast, from_pipeline=True)
        for match, place, cast, text in _found(models, prefix, _CAST)
    ]
    rules += [
        Rule(match, f"{place}: {_FLASH.method}({text})", flash=enabled, from_pipeline=True)
        for match, place, enabled, text in _found(models, prefix, _FLASH)
    ]
    order = ["*", *models]
    return tuple(sorted(rules, key=lambda rule: order.index(rule.match.partition(".")[0])))


@dataclass(frozen=True, slots=True)
class _Setting(Generic[Value]):
    """One of the two: where cells keep it, the method that sets it, what that means to a policy and how it is told.

    `order` are its values, those that keep the formula first.
    """

    attribute: str
    method: str
    default: Value
    order: tuple[Value, ...]
    meaning: Callable[[Any], Value]
    text: Callable[[Any], str]


def _found(models: Mapping[str, Any], prefix: str, setting: _Setting[Value]) -> Iterator[tuple[str, str, Value, str]]:
    """A pattern, the place as Python has it, the value and its text, for each rule of one setting."""
    standing = {
        f"{name}.{path}" if path else name: getattr(cell, setting.attribute)
        for name, model in models.items()
        for path, cell in _attentions(model)
    }
    noted_values = {name: value for name, model in models.items() for value in noted(model, setting.method)}
    raw = {**noted_values, **standing}
    if len(longest := max(raw, key=len, default="")) > LONGEST_PATTERN:
        raise TraceError(
            f"{prefix}{shortened(longest, 40)} is a path of {len(longest)} characters, and a rule takes at most "
            f"{LONGEST_PATTERN}; give the modules shorter names."
        )
    known = {path: setting.meaning(value) for path, value in raw.items()}
    bare = [name for name in models if not any(_below(path, name) for path in standing)]
    if noted_values:  # what nothing was noted of was not called upon
        known |= {name: setting.default for name in bare if name not in noted_values}
        sooner = [known[name] for name in bare if name in noted_values]
    else:
        sooner = list(setting.order)
    for path, value in _fewest(_tree(known), setting, sooner if bare and prefix else None):
        texts = (setting.text(v) for at, v in raw.items() if _below(at, path) and setting.meaning(v) == value)
        text = next(texts, str(value))  # what nobody said of a part is the default
        yield path or "*", f"{prefix}{path}" if path else prefix.rstrip("."), value, text


def _attentions(model: Any) -> Iterable[tuple[str, Any]]:
    """Every cell that holds the settings, with its path in the model; the model itself has an empty one."""
    for path, cell in model.cells_and_names():
        if hasattr(cell, "fa_force_dtype") and hasattr(cell, "_enable_flash_sdp"):
            yield path, cell


def _cast_text(dtype: object) -> str:
    """`None`, `float16`, `bfloat16`; another type as it calls itself."""
    name = str(dtype)
    return _CASTS.get(name, name)


def _cast_name(dtype: object) -> CastName:
    """What mindone does with the setting: only the two types it knows are cast to, all else keeps the formula."""
    return _CASTS.get(str(dtype), "none")


_CAST: _Setting[CastName] = _Setting(
    "fa_force_dtype",
    "set_flash_attention_force_cast_dtype",
    "float16",
    ("none", "float16", "bfloat16"),
    _cast_name,
    _cast_text,
)
_FLASH: _Setting[bool] = _Setting("_enable_flash_sdp", "enable_flash_sdp", True, (False, True), bool, str)


def _below(path: str, module: str) -> bool:
    return not module or path == module or path.startswith(f"{module}.")


def _tree(settings: Mapping[str, Value]) -> _Module:
    """The modules that the paths lead through, below one without a name; `own` is what stands at a path."""
    root = _Module("")
    for path, value in settings.items():
        module = root
        for part in path.split("."):
            module = module.below.setdefault(part, _Module(f"{module.path}.{part}" if module.path else part))
        module.own = value
    return root


def _fewest(root: _Module, setting: _Setting[Value], sooner: Sequence[Value] | None) -> list[tuple[str, Value]]:
    """The fewest (module, value) pairs that give every path its value; outer modules first, the last to hold wins.

    One may be for the root, unless `sooner` is None. Where several ways cost the same, `sooner` are the values tried
    first there; elsewhere nothing is said sooner than something.
    """
    costs: dict[tuple[str, Value], int] = {}

    def cost(module: _Module, inherited: Value) -> int:
        """How many pairs the module and all below it need where `inherited` holds already."""
        key = (module.path, inherited)
        if key not in costs:
            costs[key] = min(_cost_of(module, inherited, choice, cost) for choice in setting.order)
        return costs[key]

    chosen: list[tuple[str, Value]] = []

    def choose(module: _Module, inherited: Value, order: Sequence[Value]) -> None:
        best = min(order, key=lambda choice: _cost_of(module, inherited, choice, cost))
        if best != inherited:
            chosen.append((module.path, best))
        for child in module.below.values():
            choose(child, best, _nothing_first(best, setting))

    plain = _nothing_first(setting.default, setting)
    choose(root, setting.default, plain[:1] if sooner is None else [*sooner, *plain])
    return chosen


def _nothing_first(inherited: Value, setting: _Setting[Value]) -> list[Value]:
    return [inherited, *(value for value in setting.order if value != inherited)]


def _cost_of(module: _Module, inherited: Value, choice: Value, cost: Callable[[_Module, Value], int]) -> int:
    if module.own is not None and module.own != choice:
        return _IMPOSSIBLE
    return (choice != inherited) + sum(cost(child, choice) for child in module.below.values())


_IMPOSSIBLE = 1 << 30
