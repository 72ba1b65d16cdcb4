"""Faults planted in a rewrite and in a pass, and how a graph is rewritten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.ir.graph import Model, Node
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto, NodeProto
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy
from attnfuse.rewriting import rewrite
from attnfuse.targets import Target
from tests.support.graphs import fill_literal

SCALE = 13
"""Which input of PromptFlashAttention is the scale."""


@dataclass(frozen=True)
class Crash:
    """A pass that ends in KeyError where a softmax is of a product whose right side was multiplied with a number."""

    id: ClassVar[str] = "crash"
    order: ClassVar[int] = 1
    summary: ClassVar[str] = "crashes"

    def run(self, model: Model, context: Context) -> bool:
        for node in model.nodes:
            if node.op == "Softmax" and (product := model.producer(node.inputs[0])) is not None:
                factor = model.producer(product.inputs[1])
                if factor is not None and factor.op == "Muls":
                    raise KeyError(node.name)
        return False


def rewritten(data: bytes) -> bytes:
    """The graph as compile writes it for MindSpore Lite."""
    component = Component(name="unet", owner="unet", where="unet", data=data, graph_name="unet.mindir")
    return rewrite(component, Policy(), Target("lite", "ascend910b"), pass_manager.discover())[1]


def wrong_scale(fused: bytes, site: str) -> bytes:
    """The attention that gives that value takes another scale."""
    proto, node = _found(fused, site)
    constant = NodeProto(name="planted", op_type="Constant", output=["planted"])
    scale = Model(proto).literal(node.inputs[SCALE])
    assert isinstance(scale, float)
    fill_literal(constant.attribute.add(name="value"), 1.25 * scale)
    proto.graph.node.insert(0, constant)
    node.proto.input[SCALE] = "planted"
    return codec.serialise(proto)


def swapped_elements(fused: bytes) -> bytes:
    """The two halves of the first tensor that is split are taken for each other."""
    proto = codec.parse(fused, "the rewrite")
    model = Model(proto)
    halves = [n for n in model.nodes if n.op == "TupleGetItem" and _op(model, n.inputs[0]) == "Split"][:2]
    assert halves[0].inputs[0] == halves[1].inputs[0]
    one, other = (half.inputs[1] for half in halves)
    halves[0].proto.input[1], halves[1].proto.input[1] = other, one
    return codec.serialise(proto)


def _op(model: Model, value: str) -> str:
    node = model.producer(value)
    return "" if node is None else node.op


def attentions(fused: bytes) -> list[str]:
    """The values of the fused attention nodes."""
    return [n.name for n in Model(codec.parse(fused, "the rewrite")).nodes if n.op == "PromptFlashAttention"]


def _found(fused: bytes, value: str) -> tuple[ModelProto, Node]:
    proto = codec.parse(fused, "the rewrite")
    node = Model(proto).producer(value)
    assert node is not None
    return proto, node
