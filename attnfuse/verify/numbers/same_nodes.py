"""Whether two lowered graphs are node by node the same: nothing has to be run to know that they give the same numbers.

Many a rewrite changes what an operator is called and how its arguments are written, as where Conv2DExt becomes Conv2D:
what onnxruntime is given for the two is one graph. Names are left out of account, and the order of factors and of what
is added; an input counts by its name in MindIR, a weight by its value.
"""

from __future__ import annotations

import hashlib

import numpy as np
import onnx

from attnfuse.ir.types import Array
from attnfuse.verify.lowering import Lowered
from attnfuse.verify.numbers.weights import WeightProvider

_EITHER_WAY = frozenset({"Add", "Mul", "And", "Or"})
"""Operators that give the same bits whichever operand is the first (IEEE 754; which of two NaNs it is is nobody's)."""


def are_same(one: Lowered, other: Lowered, weights: tuple[WeightProvider, WeightProvider]) -> bool:
    """Whether the two compute the same on the same inputs: the same nodes in the same order, on the same weights.

    False where they may do so too, in another way.
    """
    forms = _Form(one), _Form(other)
    if forms[0].nodes != forms[1].nodes or forms[0].results != forms[1].results:
        return False
    return all(
        _is_same_feed(one, first, other, second, weights)
        for first, second in zip(forms[0].feeds, forms[1].feeds, strict=True)
    )


class _Form:
    """A graph without names: values by the number of what makes them, constants by what they are, and feeds, in the
    order in which they are read."""

    def __init__(self, lowered: Lowered) -> None:
        graph = lowered.model.graph
        self.feeds: list[str] = []
        self._fed = {feed.name for feed in lowered.feeds}
        self._called: dict[str, str] = {"": ""}
        for held in graph.initializer:
            self._called[held.name] = "constant " + hashlib.sha256(_unnamed(held)).hexdigest()
        self.nodes: list[bytes] = []
        for node in graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.ClearField("name")
            copy.ClearField("doc_string")
            operands = [self._name(name) for name in node.input]
            copy.input[:] = sorted(operands) if node.op_type in _EITHER_WAY else operands
            for position, name in enumerate(node.output):
                self._called[name] = f"value {len(self.nodes)} {position}" if name else ""
            copy.output[:] = [self._called[name] for name in node.output]
            self.nodes.append(copy.SerializeToString(deterministic=True))
        self.results = [(self._name(o.name), o.type.SerializeToString(deterministic=True)) for o in graph.output]

    def _name(self, name: str) -> str:
        if name in self._fed and name not in self._called:
            self._called[name] = f"feed {len(self.feeds)}"
            self.feeds.append(name)
        return self._called[name]


def _unnamed(held: onnx.TensorProto) -> bytes:
    copy = onnx.TensorProto()
    copy.CopyFrom(held)
    copy.ClearField("name")
    return copy.SerializeToString(deterministic=True)


def _is_same_feed(
    one: Lowered, first: str, other: Lowered, second: str, weights: tuple[WeightProvider, WeightProvider]
) -> bool:
    a, b = ({feed.name: feed for feed in lowered.feeds}[name] for lowered, name in ((one, first), (other, second)))
    if a.tensor_type != b.tensor_type or (a.parameter is None) != (b.parameter is None):
        return False
    if a.parameter is None or b.parameter is None:
        return a.value == b.value
    return _is_same_array(weights[0](a.parameter), weights[1](b.parameter))


def _is_same_array(a: Array | None, b: Array | None) -> bool:
    """By their bytes: a NaN is another as soon as its bits are."""
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return False
    first, second = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (a, b))
    return np.array_equal(first, second)
