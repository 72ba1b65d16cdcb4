"""What a tuning came to: a policy with the figures in its comments, and a JSON document of the same."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from attnfuse.decisions import SiteFacts
from attnfuse.names import counted
from attnfuse.policy import Policy, rule_document
from attnfuse.report.units import human_seconds
from attnfuse.serialisation import Number, to_json
from attnfuse.targets import Target
from attnfuse.tuning.choices import CHOICES
from attnfuse.tuning.units import pattern
from attnfuse.version import __version__

SCHEMA: Final = "attnfuse.tuning/1"
FIRST: Final = "# Written by attnfuse tune"
"""What a file begins with that may be written over."""
_WIDTH = 118
_GIVEN = "as the policy has it that was given, and not chosen"


@dataclass(frozen=True, slots=True)
class Uniform:
    """One policy for all sites: what it is called, its measured error, and the estimated seconds of one run."""

    policy: str
    error: Number
    seconds: float


@dataclass(frozen=True, slots=True)
class Option:
    """A form that modules that are alike could have: what becomes of their sites, the error with all of them, and no
    others, changed from the most exact uniform policy to it, None where that was not measured, and the seconds that
    saves."""

    form: str
    error_alone: Number | None
    saved_seconds: float


@dataclass(frozen=True, slots=True)
class Block:
    """Modules that are alike and were given one form, of `alike` in all. `others` are the forms that they were not
    given."""

    settings: dict[str, bool | str]
    chosen: Option
    others: tuple[Option, ...]
    modules: tuple[str, ...]
    sites: tuple[str, ...]
    alike: int
    facts: SiteFacts


@dataclass(frozen=True, slots=True)
class Fixed:
    """Modules whose attention is the same by any policy that was tried."""

    form: str
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedComponent:
    """A component's policy: its measured error and estimated seconds, and what they were measured on.

    `drawn_weights` of `weights` have no values in the source. `measured` counts the graphs whose errors are known.
    """

    name: str
    error: Number
    seconds: float
    inputs: tuple[str, ...]
    weights: int
    drawn_weights: int
    measured: int
    uniform: tuple[Uniform, ...]
    blocks: tuple[Block, ...]
    fixed: tuple[Fixed, ...]

    @property
    def sites(self) -> int:
        """Those that had something to choose from."""
        return sum(len(block.sites) for block in self.blocks)

    def cheapest(self, budget: float) -> Uniform | None:
        """The cheapest uniform policy that keeps the budget."""
        keeping = (one for one in self.uniform if one.error <= budget)
        return min(keeping, key=lambda one: (one.seconds, one.error), default=None)


@dataclass(frozen=True, slots=True)
class Tuning:
    """All that was tuned, for a target. `without` are components without a choice; rules of `base` stay, and are in
    the policy."""

    target: Target
    budget: float
    seed: int
    components: tuple[TunedComponent, ...]
    without: tuple[str, ...] = ()
    base: Policy = field(default_factory=Policy)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for a JSON encoder."""
        return {
            "schema": SCHEMA,
            "attnfuse": __version__,
            "runtime": self.target.runtime,
            "soc": self.target.soc,
            "budget": self.budget,
            "seed": self.seed,
            "components": [to_json(component) for component in self.components],
            "without_a_choice": list(self.without),
        }

    def to_toml(self) -> str:
        """The policy, as `attnfuse.policy.read_policy` takes it, the figures in comments."""
        lines = [
            f"{FIRST} {__version__} for {self.target.runtime} on {self.target.soc}, to be given to compile --policy.",
            "# Errors are measured, end to end, relative to float64 (L2, of the worst output). Times are estimated,",
            "# lower bounds by the rules of docs/cost.md: nothing was run on a device.",
        ]
        lines += _defaults(self.base)
        for component in self.components:
            lines += ["", *_lines(component, self.budget)]
        lines += _kept(self.base)
        return "\n".join(lines) + "\n"


def _defaults(base: Policy) -> Iterator[str]:
    for rule in base.rules:
        if rule.is_default:
            yield from ("", f"# {_GIVEN}", "[defaults]", *_settings(rule_document(rule)))


def _kept(base: Policy) -> Iterator[str]:
    """The rules of the policy that was given, which come last and so win, and its options of passes."""
    rules = [rule for rule in base.rules if not rule.is_default]
    for number, rule in enumerate(rules):
        yield from ("", *([] if number else [f"# {_GIVEN}"]), "[[rules]]", *_settings(rule_document(rule)))
    steps: dict[str, dict[str, Any]] = {}
    for option in base.options:
        steps.setdefault(option.step, {})[option.option] = option.value
    for step, values in steps.items():
        yield from ("", f"[pass.{_text(step)}]", *_settings(values))


def _lines(component: TunedComponent, budget: float) -> Iterator[str]:
    """What of the file is one component's."""
    yield (
        f"# {component.name}: error {_error(component.error)} of a budget of {budget:.2e}, "
        f"{human_seconds(component.seconds)}; {counted(component.sites, 'site')} to choose for"
    )
    yield from (f"# on inputs {told}" for told in component.inputs)
    if component.drawn_weights:
        yield f"# {component.drawn_weights} of {component.weights} weights have no values and were drawn"
    yield "#"
    yield f"#   {'error':>10} {'time':>10}   one policy for all sites"
    for one in component.uniform:
        yield f"#   {_error(one.error):>10} {human_seconds(one.seconds):>10}   {one.policy}"
    for fixed in component.fixed:
        yield f"# {fixed.form} by any of them: {', '.join(fixed.modules)}"
    usual = _usual(component.blocks)
    yield ""
    yield f"[[rules]]  # where no rule below says otherwise: {counted(_count(component.blocks, usual), 'site')}"
    yield f"match = {_text(pattern(component.name, ''))}"
    yield from _settings(usual)
    for block, rules in _rules(component, usual):
        yield ""
        yield from _comments(block)
        for rule in rules:
            yield "[[rules]]"
            yield f"match = {_text(rule)}"
            yield from _settings(block.settings)


def _usual(blocks: Sequence[Block]) -> dict[str, bool | str]:
    """The settings of the most sites; of as many, the more exact."""
    counts = Counter[int]()
    order = [choice.settings for choice in CHOICES]
    for block in blocks:
        counts[order.index(block.settings)] += len(block.sites)
    return order[max(counts, key=lambda number: (counts[number], -number))]


def _count(blocks: Sequence[Block], settings: dict[str, bool | str]) -> int:
    return sum(len(block.sites) for block in blocks if block.settings == settings)


def _rules(component: TunedComponent, usual: dict[str, bool | str]) -> Iterator[tuple[Block, list[str]]]:
    """Each block with the patterns that are still to be named, in an order in which the last that fits a module is its
    own: a rule for a module holds for what lies below it."""
    named = [(block, module) for block in component.blocks for module in block.modules]
    modules = {module for _, module in named}
    if any(above in modules for module in modules for above in _above(module)):
        named.sort(key=lambda one: one[1].count("."))
    said: dict[str, dict[str, bool | str]] = {}
    found: list[tuple[Block, list[str]]] = []
    for block, module in named:
        holding = next((said[above] for above in (module, *_above(module)) if above in said), usual)
        if not found or found[-1][0] is not block:
            found.append((block, []))
        if holding != block.settings:
            said[module] = block.settings
            found[-1][1].append(pattern(component.name, module))
    yield from found


def _above(module: str) -> list[str]:
    """The modules that it lies in, the nearest first; "" is the component."""
    parts = module.split(".") if module else []
    return [".".join(parts[:count]) for count in range(len(parts) - 1, -1, -1)]


def _comments(block: Block) -> Iterator[str]:
    """Which sites, what they are given and why."""
    whose = "alone" if len(block.modules) == block.alike else f"for all {block.alike} that are alike"
    own = f"{counted(len(block.sites), 'site')}, {_facts(block.facts)}: {_option(block.chosen, whose)}"
    yield from _wrapped(own)
    for other in block.others:
        yield from _wrapped(f"  not {_option(other, whose)}")
    if len(block.modules) < 4:
        yield from _wrapped(f"  {', '.join(block.modules)}")


def _option(option: Option, whose: str) -> str:
    """`float16 in fast precision, which saves 1.2 ms and alone is off by 3.20e-04`."""
    saves = "saves nothing" if option.saved_seconds <= 0 else f"saves {human_seconds(option.saved_seconds)}"
    if option.error_alone is None:
        return f"{option.form}, which {saves}"
    if not math.isfinite(option.error_alone):
        return f"{option.form}, which {saves} and {whose} overflows"
    return f"{option.form}, which {saves} and {whose} is off by {option.error_alone:.2e}"


def _facts(facts: SiteFacts) -> str:
    lengths = [facts.query_length, facts.key_length]
    told = [
        facts.attention,
        None if lengths == [None, None] else " x ".join("?" if n is None else str(n) for n in lengths),
        None if facts.head_dim is None else f"head_dim {facts.head_dim}",
        facts.dtype,
    ]
    return ", ".join(text for text in told if text is not None) or "of unknown sizes"


def _wrapped(text: str) -> Iterator[str]:
    """As comments of no more than a line each."""
    line = "#"
    for word in text.split(" "):
        if len(line) + 1 + len(word) > _WIDTH and line.strip("# "):
            yield line
            line = "#  "
        line += f" {word}"
    yield line


def _settings(settings: Mapping[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    """A value of TOML; but for tables and dates JSON's are."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)} = {_value(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _text(value: str) -> str:
    """A string of TOML, which takes JSON's."""
    return json.dumps(value, ensure_ascii=False)


def _error(error: float) -> str:
    return f"{error:.2e}" if math.isfinite(error) else "not finite"
