"""Which module each node of a traced piece belongs to: the scope that profilers and converters show.

MindSpore gives what a function computes that several cells call the scope of the first that called it. Better known are
nodes that read a weight, which belong to the cell that holds it, and stand-ins. Of any other node the scope is kept
where it can be right. It cannot be where a module began before the node and ended after it, and the scope is not within
that: a module, called once, that holds something the node is computed from and something computed from the node. Nor
where it is that of a module with weights of which none is near. Imports no protobuf.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Set
from typing import Any

from attnfuse.tracing.blocks.pieces import BLOCK, RESULT, Piece, plain_name

_NO_WORK = frozenset({"Load", "UpdateState", "Depend", "MakeTuple", "make_list", "MakeList", RESULT})
"""Operators that compute nothing: where they take a weight, that says nothing of where they are."""
_ELEMENT = "TupleGetItem"
_MOST = 4096
"""Pairs of modules around a node that are looked at; where there are more, what MindSpore says stands."""
_NONE: frozenset[str] = frozenset()


def scopes_of(piece: Piece, model: Any) -> dict[str, str]:
    """For each node of a piece, by the name of its value, its scope where the cell is that was traced.

    `model` is the piece's ModelProto.
    """
    return _Scopes(piece, model).found()


def within(scope: str, other: str) -> bool:
    """Whether a scope is the other one, or below it."""
    return scope == other or scope.startswith(f"{other}/")


class _Scopes:
    def __init__(self, piece: Piece, model: Any) -> None:
        self._piece = piece
        self._primitives = {f"REF::{primitive.name}": primitive for primitive in model.primitives}
        self._nodes = [node for node in model.graph.node if node.op_type in self._primitives]
        self._constants = {node.output[0] for node in model.graph.node if node.op_type not in self._primitives}
        self._weights = {
            parameter.name: owner
            for parameter in model.graph.parameter
            if within(owner := piece.owners.get(plain_name(parameter.name), ""), piece.scope)
        }
        self._known: dict[str, str] = {}
        self._several: frozenset[str] = _NONE
        self._find_known()
        self._holders = frozenset(self._known.values())

    def found(self) -> dict[str, str]:
        """The scope of each node, by its value."""
        before, after = self._before(), self._after()
        found = dict(self._weights)  # what a weight is made into is the weight's
        for node in self._nodes:
            name = node.output[0]
            if self._op(node) == _ELEMENT and node.input[0] in found:
                found[name] = found[node.input[0]]
            elif name not in found:
                found[name] = self._known.get(name) or self._likely(self._written(node), before[name], after[name])
        return found

    def _op(self, node: Any) -> str:
        return str(self._primitives[node.op_type].op_type)

    def _find_known(self) -> None:
        """The nodes that are computed from a weight of one cell, or stand for a block; what is a weight in disguise."""
        readers: Counter[str] = Counter()
        for node in self._nodes:
            name, op = node.output[0], self._op(node)
            values = [value for value in node.input if value not in self._constants]
            owners = {self._weights[value] for value in values if value in self._weights}
            if op == BLOCK:
                self._known[name] = self._piece.calls[self._key(node)].scope
            elif len(owners) == 1 and (op == "Load" or (op not in _NO_WORK and len(values) == 1)):
                self._weights[name] = owners.pop()
            elif len(owners) == 1 and op not in _NO_WORK:
                self._known[name] = owners.pop()
                readers.update(value for value in values if value in self._weights)
        self._several = frozenset(self._weights[value] for value, count in readers.items() if count > 1)

    def _key(self, node: Any) -> str:
        told = self._primitives[node.op_type].attribute
        return str(next(one.s for one in told if one.name == "block").decode())

    def _before(self) -> dict[str, frozenset[str]]:
        """By value, where the nearest nodes are that are known among those the value is computed from."""
        near: dict[str, frozenset[str]] = {}
        passed: dict[str, frozenset[str]] = {}
        for node in self._nodes:
            name = node.output[0]
            near[name] = _NONE.union(*(passed.get(value, _NONE) for value in node.input))
            passed[name] = self._at(name, near[name])
        return near

    def _after(self) -> dict[str, frozenset[str]]:
        """By value, where the nearest nodes are that are known among those computed from the value."""
        near: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        for node in reversed(self._nodes):
            passed = self._at(node.output[0], near[node.output[0]])
            for value in node.input:
                near[value] |= passed
        return near

    def _at(self, name: str, near: frozenset[str]) -> frozenset[str]:
        if name in self._weights:
            return _NONE
        return frozenset({self._known[name]}) if name in self._known else near

    def _written(self, node: Any) -> str:
        """The scope that MindSpore wrote, where the cell is that was traced; the cell's where it is elsewhere."""
        scope, root = scope_of(node), self._piece.scope
        called = f"Default/block-{self._piece.kind}"
        if self._piece.scope != "Default" and within(scope, called):
            return root + scope[len(called) :]
        return scope if within(scope, root) else root

    def _likely(self, written: str, before: Set[str], after: Set[str]) -> str:
        """The scope of a node that is not known; `before` and `after` are those of the nearest that are."""
        around = ""
        one, other = before - self._several, after - self._several
        if len(one) * len(other) <= _MOST:
            around = max((_common(a, b) for a in one for b in other), key=len, default="")
        if not around:
            return written
        if not within(written, around):
            return around
        held = any(within(known, written) for known in self._holders)
        near = any(within(known, written) for known in before | after)
        return around if held and not near else written


def scope_of(node: Any) -> str:
    """The scope of a NodeProto, without its own name in it."""
    return str(node.domain.rpartition("/")[0])


def _common(one: str, other: str) -> str:
    """The innermost scope that both are within, of a cell that calls others and does not only hold them."""
    parts = []
    for a, b in zip(one.split("/"), other.split("/"), strict=False):
        if a != b:
            break
        parts.append(a)
    while parts and parts[-1].endswith(("-CellList", "-CellDict")):
        parts.pop()
    return "/".join(parts)
