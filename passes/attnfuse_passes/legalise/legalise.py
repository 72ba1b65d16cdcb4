"""The pass that legalises: for MindSpore Lite, every operator outside its table that a rule can write otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from attnfuse.api import (
    CONSTANT,
    REWRITES,
    Builder,
    Context,
    Edit,
    Effects,
    Legalised,
    MatchFailure,
    Model,
    Node,
    NotWritableError,
    Property,
    TakeExtensions,
    eliminate_dead_code,
    objection,
    short_name,
    sites_built,
    takes_element,
    unused,
)
from attnfuse_passes.legalise import (
    activate,
    arrange,
    choose,
    convolve,
    create,
    inplace,
    normalise,
    pool,
    products,
    reduce,
    scalars,
    split,
    views,
)
from attnfuse_passes.legalise.inline import inline
from attnfuse_passes.legalise.nodes import make_tuple
from attnfuse_passes.legalise.rules import At, Result, cannot, extend, rule_of

FAMILIES = (
    *(activate, arrange, choose, convolve, create, inplace, normalise),
    *(pool, products, reduce, scalars, split, views),
)
"""The modules whose import filled the table of rules."""


@dataclass(frozen=True, slots=True)
class Legalise:
    """Rewrites what MindSpore Lite has no adapter for, after fusing; for other runtimes it does nothing."""

    id: ClassVar[str] = "legalise"
    order: ClassVar[int] = 200
    summary: ClassVar[str] = "operators MindSpore Lite does not take are written with those it does"
    requires: ClassVar[frozenset[Property]] = frozenset({Property.DECIDED})
    ensures: ClassVar[frozenset[Property]] = frozenset({Property.INLINED})
    takes: ClassVar[Mapping[str, TakeExtensions]] = {REWRITES: extend}

    def run(self, model: Model, context: Context) -> bool:
        """Take calls away, then visit the nodes in file order; the edits for these are applied at the end, at once."""
        if context.target.runtime != "lite":
            return False
        inlined = inline(model)
        context.legalised += inlined
        edit, effects, slugs = Edit(model), Effects.of(model), sites_built(model)
        replaced: list[Node] = []
        dead: set[str] = set()
        for node in model.nodes:
            rule = rule_of(node.op)
            if rule is None or objection(context.target, model, node) is None:
                continue
            builder = Builder(edit, node, _slug(node, slugs))
            try:
                result = rule(At(model, node, effects, builder))
                ops, items = tuple(builder.ops), _readers(model, node, result)
                whole = _as_one(builder, result) if len(items) < len(model.uses(node.name)) else result
                if isinstance(whole, str):
                    builder.check_stands_in(whole)
            except (MatchFailure, NotWritableError) as error:
                context.illegal[node.name] = str(error)
                continue
            context.legalised.append(Legalised(node.op, ops))
            edit.rename.update(items)
            edit.remove.update(items)
            replaced += [node, *(item for name in items if (item := model.producer(name)) is not None)]
            if isinstance(whole, tuple):
                read = set(items.values())
                dead |= {part for part in whole if part is not None and part not in read and builder.made(part)}
                builder.give_way()
                continue
            if whole is None:
                context.unneeded[node.name] = "a rule shows that nothing reads what it changes"
            if whole is None or isinstance(result, tuple):
                dead.add(node.name)
            if whole is not None and builder.made(whole):
                builder.finish(whole)
            elif whole is not None:
                edit.rename[node.name] = whole
                edit.remove.add(node.name)
        if not replaced:
            return bool(inlined)
        idle = set(model.primitives) - {node.proto.op_type for node in model.nodes}
        arguments = {name for node in replaced for name in node.inputs if model.producer(name) is not None}
        _tidy(edit, arguments)
        edit.apply()
        dead |= {name for name in arguments if model.producer(name) is not None and not model.uses(name)}
        if dead:
            eliminate_dead_code(model, sorted(dead), set(model.primitives) - idle)
        return True


def _as_one(builder: Builder, result: Result) -> Result:
    """Several values as one, which whoever reads the node's tuple as a whole is given."""
    if not isinstance(result, tuple):
        return result
    return make_tuple(builder, [part for part in result if part is not None])


def _readers(model: Model, node: Node, parts: Result) -> dict[str, str]:
    """What stands for each value that is one element of the node's tuple. Raises MatchFailure for one without."""
    if not isinstance(parts, tuple):
        return {}
    stead = {}
    for item in (use.node for use in model.uses(node.name)):
        if item is None or not takes_element(item):
            continue
        index = model.literal(item.inputs[1]) if model.is_literal(item.inputs[1]) else None
        part = parts[index] if isinstance(index, int) and -len(parts) <= index < len(parts) else None
        if part is None:
            raise cannot(f"{short_name(item.name)} reads an element that what stands for it does not have")
        stead[item.name] = part
    return stead


def _tidy(edit: Edit, arguments: set[str]) -> None:
    """Take away the constants and primitives that only replaced nodes used.

    Dead-code elimination would find them too, but it indexes the graph anew, which takes longer than all the rules.
    """
    model = edit.model
    written = [message for messages in edit.before.values() for message in messages] + list(edit.replace.values())
    read = {name for message in written for name in message.input} | set(edit.rename.values())
    gone = edit.remove | edit.replace.keys()
    for name in arguments - read:
        maker = model.producer(name)
        uses = model.uses(name)
        if maker is not None and maker.op == CONSTANT and all(use.node and use.node.name in gone for use in uses):
            edit.remove.add(name)
    called = {message.op_type for message in written}
    used = {node.proto.op_type for node in model.nodes}
    kept = {node.proto.op_type for node in model.nodes if node.name not in gone} | called
    edit.drop_primitives = used - kept
    edit.new_primitives = {name: entry for name, entry in edit.new_primitives.items() if name in called}


def _slug(node: Node, taken: set[str]) -> str:
    """A name for the nodes that stand for `node`: from its own, which only its graph need keep unique."""
    return unused(re.sub(r"\W+", "_", short_name(node.name)), taken)
