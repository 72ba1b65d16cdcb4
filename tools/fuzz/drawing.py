"""What an edit draws from: values at the edges of what a message can hold, and parts of the message itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeVar

from attnfuse.mindir import dtypes
from attnfuse.mindir.schema import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

T = TypeVar("T")

WHOLE = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 64, 77, 127, 128, 255, 256, 512, 1024, 65535, 65536, 1 << 20),
    *(-1, -2, -3, -4, -5, -128, -(1 << 31), -(1 << 63)),
    *((1 << 31) - 1, 1 << 31, 1 << 32, 1 << 40, (1 << 62) + 1, (1 << 63) - 1),
)
"""Whole numbers of 64 bits."""
REAL = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-7, 3e38, -3e38, 65504.0, 65536.0),
    *(float("inf"), float("-inf"), float("nan")),
)
TEXTS = (
    *(
        "",
        " ",
        "0",
        "x",
        "a:b:c",
        "REF::",
        "::",
        ":",
        "Default",
        "Default/attn1-Attention/Softmax-op0",
        "../up",
        "/abs",
    ),
    *("attnfuse_x_0", "1_graph_construct_1:attnfuse_case_0_Mul:0", "new\nline", "tab\tnul\0", "é√𝔸\u202e"),
    *("%s{0}[red]", "n" * 5_000),
)
ELEMENT_TYPES = tuple({dtype.wire for dtype in dtypes.ALL} | {0, 8, 14, 15, 17, 18, 99, -1})
_A = AttributeProto
ATTRIBUTE_TYPES = (
    *(_A.UNDEFINED, _A.FLOAT, _A.UINT8, _A.INT32, _A.INT64, _A.STRING, _A.BOOL, _A.FLOAT16, _A.DOUBLE, _A.COMPLEX64),
    *(_A.TENSOR, _A.GRAPH, _A.TENSORS, _A.TUPLE, _A.LIST, _A.DICT, _A.UMONAD, _A.IOMONAD, _A.NONE, _A.CLASS_TYPE),
    *(_A.PRIMITIVECLOSURE, _A.FUNCGRAPHCLOSURE, _A.PARTIALCLOSURE, _A.CSR_TENSOR, _A.SYMBOL, _A.TYPE_NULL, _A.SCALAR),
)
OTHERS = ("NoSuchOperator", "InplaceNothing", "NothingView", "Constant", "", "<call>")
"""What no table of operators has."""


def some(random: Random, items: Sequence[T]) -> T | None:
    """One of them; None of none."""
    return items[random.randrange(len(items))] if len(items) else None


def whole(random: Random, near: int = 0) -> int:
    """A number at an edge, or near another one."""
    if random.random() < 0.3:
        return max(-(1 << 63), min((1 << 63) - 1, random.choice((near + 1, near - 1, near * 2, -near, near // 2))))
    return random.choice(WHOLE)


def graphs(model: ModelProto) -> list[GraphProto]:
    """The top graph and the functions."""
    return [model.graph, *model.functions]


def graph(random: Random, model: ModelProto) -> GraphProto:
    """A graph, the larger the likelier."""
    found = graphs(model)
    return random.choices(found, [len(g.node) + 1 for g in found])[0]


def node(random: Random, model: ModelProto, *, constant: bool | None = None) -> NodeProto | None:
    """A node; with `constant` only one that is a constant, or only one that is not."""
    nodes = graph(random, model).node
    for _ in range(12):
        found = some(random, nodes)
        if found is None or constant is None or (found.op_type == "Constant") == constant:
            return found
    return None


def value(random: Random, model: ModelProto) -> str:
    """The name of any value or function; "" where the file has none."""
    at = graph(random, model)
    kind = random.random()
    if kind < 0.1:
        return (some(random, graphs(model)) or at).name
    if kind < 0.3:
        names = [v.name for v in at.input] if random.random() < 0.5 else [p.name for p in at.parameter]
        if names:
            return random.choice(names)
    found = some(random, at.node)
    return found.output[0] if found is not None and len(found.output) else ""


def types(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor message that states a type: of results, inputs, outputs, parameters."""
    for g in graphs(model):
        yield from g.parameter
        for leaf in (*g.input, *g.output):
            yield from leaf.tensor
        for n in g.node:
            for a in n.attribute:
                yield from tensors(a)


def tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    """Those of an attribute, and of its elements."""
    yield from attribute.tensors
    for element in attribute.values:
        yield from tensors(element)


def name_of(n: NodeProto) -> str:
    """A node as an edit names it."""
    return (n.output[0] if len(n.output) else n.name)[:80]
