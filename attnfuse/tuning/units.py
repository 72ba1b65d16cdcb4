"""What choices are made for: modules with their sites, which is as fine as rules of a policy tell; alike ones together.

Two modules are alike where their sites are: of the same facts, shapes, scale and mask, of the same formula by its
canonical hash, and with the same forms to choose from.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from attnfuse.decisions import SiteFacts, SiteRecord
from attnfuse.ir.canonical import canonical_hash
from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.mindir.schema import GraphProto, ModelProto
from attnfuse.policy import Policy
from attnfuse.report.beside import source_nodes
from attnfuse.serialisation import to_json
from attnfuse.tuning.choices import CHOICES, FAST, FORMULA, HIGH, Assignment, Choice, Form


@dataclass(frozen=True, slots=True)
class Unit:
    """A module whose attention is given one form.

    `module` is its dotted path, `sites` are the ids, `forms` what becomes of them by each choice that makes a
    difference, in the order of CHOICES. `key` is equal for modules that are alike; `facts` are the first site's.
    """

    module: str
    sites: tuple[str, ...]
    forms: Mapping[Choice, tuple[Form, ...]]
    key: str
    facts: SiteFacts

    @property
    def depth(self) -> int:
        """Names in its path."""
        return self.module.count(".") + 1 if self.module else 0

    def choice_of(self, forms: tuple[Form, ...]) -> Choice | None:
        """The choice that gives these forms."""
        return next((choice for choice, own in self.forms.items() if own == forms), None)


@dataclass(frozen=True, slots=True)
class Group:
    """Units that are alike, by number, and what they may be given."""

    units: tuple[int, ...]
    options: tuple[Choice, ...]


def units_of(model: Model, records: Mapping[Choice, Sequence[SiteRecord]]) -> tuple[Unit, ...]:
    """The units of a graph, from what became of its sites where a choice is made for all; rules for a module hold for
    what lies below, so that the ones above come first."""
    by_choice = {choice: by_module(several) for choice, several in records.items()}
    first = records[FORMULA]
    hashes = {one.site: _hash_of(model, one.core) for one in source_nodes(model, first)}
    units = []
    for module, sites in by_module(first).items():
        forms: dict[Choice, tuple[Form, ...]] = {}
        for choice in CHOICES:
            made = tuple(map(Form.of, by_choice[choice][module]))
            if made not in forms.values():
                forms[choice] = made
        key = json.dumps([[_told(site), hashes.get(site.id, "")] for site in sites] + [[c.name for c in forms]])
        units.append(Unit(module, tuple(site.id for site in sites), forms, key, sites[0].facts))
    return tuple(sorted(units, key=lambda unit: unit.depth))


def by_module(records: Sequence[SiteRecord]) -> dict[str, list[SiteRecord]]:
    """The sites of each module, of those that are attention, in the order of the graph."""
    found: dict[str, list[SiteRecord]] = {}
    for record in records:
        if record.status != "not_attention":
            found.setdefault(record.module, []).append(record)
    return found


def groups_of(units: Sequence[Unit]) -> tuple[Group, ...]:
    """Units that are alike, of those that have something to choose from, in the order of the first of each."""
    found: dict[str, list[int]] = {}
    for number, unit in enumerate(units):
        if len(unit.forms) > 1:
            found.setdefault(unit.key, []).append(number)
    return tuple(Group(tuple(numbers), _options(units[numbers[0]])) for numbers in found.values())


def _options(unit: Unit) -> tuple[Choice, ...]:
    """What a unit may be given: fast precision only where it saves zeros behind heads that high has, and so time."""
    high, fast = (unit.forms.get(choice) for choice in (HIGH, FAST))
    is_for_nothing = high is not None and fast == tuple(replace(form, precision="fast") for form in high)
    return tuple(choice for choice in unit.forms if not (choice == FAST and is_for_nothing))


def uniform(units: Sequence[Unit], records: Sequence[SiteRecord]) -> Assignment | None:
    """The choices that give each unit the forms that these records tell of; None where there are none."""
    modules = by_module(records)
    choices = [unit.choice_of(tuple(map(Form.of, modules[unit.module]))) for unit in units]
    found = tuple(choice for choice in choices if choice is not None)
    return found if len(found) == len(choices) else None


def pattern(component: str, module: str) -> str:
    """What matches the module of a component, and all below."""
    return glob.escape(f"{component}.{module}" if module else component)


def policy_for(component: str, units: Sequence[Unit], assignment: Assignment) -> Policy:
    """The policy that says so of each unit."""
    rules = (choice.rule(pattern(component, unit.module)) for unit, choice in zip(units, assignment, strict=True))
    return Policy(tuple(rules))


def _told(site: SiteRecord) -> list[object]:
    """What of a site's record says that it is another."""
    return [site.form, to_json(site.facts), site.query_shape, site.key_shape, site.value_shape, site.scale, site.mask]


def _hash_of(model: Model, core: frozenset[str]) -> str:
    """The canonical hash of these nodes by themselves: what they read and do not make is an input."""
    graph, made, given, used = GraphProto(name="site"), dict[str, None](), set[str](), set[str]()
    for node in model.nodes:
        if node.name not in core:
            continue
        for value in node.inputs:
            producer = model.producer(value)
            if value in made or value in given:
                continue
            given.add(value)
            if producer is not None and producer.op == CONSTANT:
                graph.node.append(producer.proto)
            elif (tensor_type := model.type_of(value)) is not None:
                tensor = graph.input.add(name=value).tensor.add(data_type=tensor_type.dtype.wire)
                tensor.dims.extend(tensor_type.dims)
            else:
                graph.input.add(name=value)
        graph.node.append(node.proto)
        used.add(node.proto.op_type)
        made[node.name] = None
    read = {value for node in graph.node for value in node.input}
    for name in made:
        if name not in read:
            graph.output.add(name=name)
    table = [entry for reference, entry in model.primitives.items() if reference in used]
    return canonical_hash(ModelProto(graph=graph, primitives=table))
