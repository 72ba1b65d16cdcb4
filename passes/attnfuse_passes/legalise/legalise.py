"""The pass that legalises: for MindSpore Lite, every operator outside its table that a rule can write otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from attnfuse.api import CONSTANT, Context, Edit, Legalised, Model, Node, accepts, short_name
from attnfuse_passes.attention.effects import Effects
from attnfuse_passes.emit.builder import Builder
from attnfuse_passes.legalise import products
from attnfuse_passes.legalise.rules import RULES, At, NotLegalError
from attnfuse_passes.sweep import sweep

FAMILIES = (products,)
"""The modules whose import filled the table of rules."""


@dataclass(frozen=True, slots=True)
class Legalise:
    """Rewrites what MindSpore Lite has no adapter for, after fusing; for other runtimes it does nothing."""

    id: ClassVar[str] = "legalise"
    order: ClassVar[int] = 200
    summary: ClassVar[str] = "operators MindSpore Lite does not take are written with those it does"

    def run(self, model: Model, context: Context) -> bool:
        """Visit the nodes in file order; all edits are applied at the end, at once."""
        edit, effects, slugs = Edit(model), Effects.of(model), set[str]()
        replaced: list[Node] = []
        for node in model.nodes:
            rule = RULES.get(node.op)
            if rule is None or accepts(context.target, node.op):
                continue
            builder = Builder(edit, node, _slug(node, slugs))
            try:
                value = rule(At(model, node, effects, builder))
            except NotLegalError as error:
                context.illegal[node.name] = str(error)
                continue
            context.legalised.append(Legalised(node.op, tuple(builder.ops)))
            if builder.ends_with(value):
                builder.finish(value)
            else:
                edit.rename[node.name] = value
                edit.remove.add(node.name)
            replaced.append(node)
        if not replaced:
            return False
        before = {node.proto.op_type for node in model.nodes}
        arguments = {name for node in replaced for name in node.inputs if _is_constant(model, name)}
        edit.apply()
        sweep(model, [name for name in sorted(arguments) if not model.uses(name)], before)
        return True


def _is_constant(model: Model, value: str) -> bool:
    node = model.producer(value)
    return node is not None and node.op == CONSTANT


def _slug(node: Node, taken: set[str]) -> str:
    """A name for the nodes that stand for `node`: from its own, which only its graph need keep unique."""
    plain = re.sub(r"\W+", "_", short_name(node.name))
    slug, number = plain, 1
    while slug in taken:
        number += 1
        slug = f"{plain}_{number}"
    taken.add(slug)
    return slug
