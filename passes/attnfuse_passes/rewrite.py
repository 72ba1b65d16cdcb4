"""The driver of all rewrites: raise, decide, lower, record; and then all edits at once.

Nodes are visited in file order, each by the rewrites that begin at its operator, and all are read from the graph as it
was. What is written for a node that in the end is refused is dropped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeAlias

from attnfuse.api import (
    CONSTANT,
    Builder,
    Candidate,
    Context,
    Edit,
    Effects,
    MatchFailure,
    Model,
    Node,
    NotWritableError,
    Result,
    Rewrite,
    RewriteContext,
    RewriteOutcome,
    Role,
    cannot,
    effective_uses,
    eliminate_dead_code,
    keeps_order,
    role,
    short_name,
    sites_built,
    takes_element,
    unused,
)

AnyRewrite: TypeAlias = Rewrite[Any, Any]
_REFERENCE = attrgetter("reference")
_TOLD = 256


def rewrite(model: Model, context: Context, effects: Effects, rewrites: Iterable[AnyRewrite]) -> bool:
    """Run the rewrites over the model, in place; whether anything changed."""
    return _Run(model, context, effects).run(rewrites)


@dataclass(slots=True)
class _Run:
    """One run: the edits so far, and what they leave behind."""

    model: Model
    context: Context
    effects: Effects
    edit: Edit = field(init=False)
    built: set[str] = field(init=False)
    replaced: list[Node] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    """The values that written nodes read."""
    called: set[str] = field(default_factory=set)
    """The primitives of written nodes."""

    def __post_init__(self) -> None:
        self.edit, self.built = Edit(self.model), sites_built(self.model)

    def run(self, rewrites: Iterable[AnyRewrite]) -> bool:
        by_root: dict[str, list[AnyRewrite]] = defaultdict(list)
        for each in rewrites:
            for op in each.roots:
                by_root[op].append(each)
        for node in self.model.nodes:
            if node.op not in by_root:
                continue
            at = RewriteContext(self.model, node, self.effects, self.context, self.edit.replace)
            for each in by_root[node.op]:
                if self._visit(each, at):
                    break  # what stands for the node now is written: a second rewrite would write over it
        return self._apply()

    def _visit(self, each: AnyRewrite, at: RewriteContext) -> bool:
        """Raise, decide, lower, record; whether something was written in the node's place."""
        form = None
        try:
            form = each.raise_(at)
            if form is None:
                return False
            decision = each.decide(form, at)
        except MatchFailure as failure:
            decision = each.failed(form, failure, at)
        outcome = RewriteOutcome(at.node, form, decision)
        if decision.chosen is not None:
            outcome = self._lower(each, form, outcome, decision.chosen, at)
        each.record(outcome, at)
        return outcome.decision.chosen is not None

    def _lower(
        self, each: AnyRewrite, form: Any, outcome: RewriteOutcome[Any, Any], chosen: Candidate, at: RewriteContext
    ) -> RewriteOutcome[Any, Any]:
        """Write the chosen candidate; what the builder does not take stays, and nothing of it is written."""
        anchor = self.model.producer(chosen.anchor)
        assert anchor is not None
        builder = Builder(self.edit, anchor, unused(each.name(form, at), self.built))
        lowering = next(lowering for lowering in each.lowerings if lowering.form == chosen.form)
        try:
            result = lowering.write(builder, form, chosen)
            if result is None and effective_uses(self.model, anchor.name):
                raise cannot("nothing is written for it, and it is read")
            ops = tuple(builder.ops)
            items = self._elements(anchor, result)
            whole = _as_one(builder, result) if len(items) < len(self.model.uses(anchor.name)) else result
            if isinstance(whole, str):
                builder.check_stands_in(whole)
        except (MatchFailure, NotWritableError) as failure:
            return RewriteOutcome(outcome.node, form, each.failed(form, failure, at))
        self._replace(builder, anchor, result, whole, items)
        self.dead.update(chosen.removes)
        replaced = [anchor, *filter(None, map(self.model.producer, builder.others))]
        read = {result} if isinstance(result, str) else set(filter(None, result or ()))
        if anchor.name in self.edit.before:
            read |= builder.reads
            self.read |= builder.reads
            self.called |= builder.references
        absorbed = self._absorbed(outcome.node, replaced, read)
        return RewriteOutcome(outcome.node, form, outcome.decision, ops, builder.casts, absorbed)

    def _absorbed(self, root: Node, replaced: Sequence[Node], read: Set[str]) -> tuple[str, ...]:
        """Operators beside the root's that are gone: of replaced nodes, first the one in whose place all is written,
        and of those that nothing read but these and each other; the last first. What is written reads `read`.

        The first `_TOLD` of them: a formula has fewer, and of a chain of copies each would tell of all before it.
        """
        gone, names = [*replaced], {node.name for node in replaced}
        for node in gone:
            if len(gone) > _TOLD:
                break
            for maker in filter(None, map(self.model.producer, node.inputs)):
                if maker.op == CONSTANT or maker.name in read or maker.name in names:
                    continue
                if all(use.node is not None and use.node.name in names for use in self.model.uses(maker.name)):
                    names.add(maker.name)
                    gone.append(maker)
        others = (node for node in gone if node.name != root.name)
        return tuple(node.op for node in others if role(node) is not Role.TUPLE and not keeps_order(node))

    def _elements(self, node: Node, parts: Result) -> dict[str, str]:
        """What stands for each value that is one element of the node's tuple. Raises MatchFailure for one without."""
        if not isinstance(parts, tuple):
            return {}
        stead = {}
        for item in (use.node for use in self.model.uses(node.name)):
            if item is None or not takes_element(item):
                continue
            index = self.model.literal(item.inputs[1]) if self.model.is_literal(item.inputs[1]) else None
            part = parts[index] if isinstance(index, int) and -len(parts) <= index < len(parts) else None
            if part is None:
                raise cannot(f"{short_name(item.name)} reads an element that its replacement does not have")
            stead[item.name] = part
        return stead

    def _replace(self, builder: Builder, node: Node, result: Result, whole: Result, items: dict[str, str]) -> None:
        """Enter into the edit what stands for the node, and for the elements of its tuple."""
        edit = self.edit
        stead = items | builder.others
        edit.rename.update(stead)
        edit.remove.update(stead)
        self.replaced += [node, *(made for name in stead if (made := self.model.producer(name)) is not None)]
        if isinstance(whole, tuple):
            read = set(items.values())
            self.dead |= {part for part in whole if part is not None and part not in read and builder.made(part)}
            builder.replace_all_uses()
            return
        if whole is None:
            self.context.unneeded[node.name] = "a rule shows that nothing reads what it changes"
        if whole is None or isinstance(result, tuple):
            self.dead.add(node.name)
        if whole is not None and builder.made(whole):
            builder.finish(whole)
        elif whole is not None:
            edit.rename[node.name] = whole
            edit.remove.add(node.name)

    # --- the end

    def _apply(self) -> bool:
        """Apply all edits, and take away what they leave without a reader."""
        if not self.replaced:
            return False
        model = self.model
        used = Counter(map(_REFERENCE, model.nodes))
        idle = set(model.primitives).difference(used)
        arguments = {name for node in self.replaced for name in node.inputs if model.producer(name) is not None}
        self._tidy(arguments, used)
        self.edit.apply()
        self.dead |= {name for name in arguments if model.producer(name) is not None and not model.uses(name)}
        if self.dead:
            eliminate_dead_code(model, sorted(self.dead), set(model.primitives) - idle)
        return True

    def _tidy(self, arguments: set[str], used: Counter[str]) -> None:
        """Take away the constants and primitives that only replaced nodes used; `used` counts each primitive's nodes.

        Dead-code elimination would find them too, but it indexes the graph again, which takes longer than all the
        rules.
        """
        edit, model = self.edit, self.model
        read = self.read.union(edit.rename.values())
        gone = edit.remove | edit.replace.keys()
        for name in arguments - read:
            maker = model.producer(name)
            uses = model.uses(name)
            if maker is not None and maker.op == CONSTANT and all(use.node and use.node.name in gone for use in uses):
                edit.remove.add(name)
        lost = Counter(node.reference for node in map(model.producer, gone) if node is not None)
        called = self.called
        edit.drop_primitives = {name for name, count in lost.items() if count == used[name] and name not in called}
        edit.new_primitives = {name: entry for name, entry in edit.new_primitives.items() if name in called}


def _as_one(builder: Builder, result: Result) -> Result:
    """Several values as one, which whoever reads the node's tuple as a whole is given."""
    if not isinstance(result, tuple):
        return result
    parts = [part for part in result if part is not None]
    return builder.op("MakeTuple", *parts, prim_type=builder.PRIMITIVE)
