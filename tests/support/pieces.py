"""Models in pieces as the tracing worker leaves them, made by hand: graphs with stand-ins, and what those are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import FLOAT32
from attnfuse.mindir.schema import AttributeProto, ModelProto
from attnfuse.tracing.blocks.pieces import BLOCK, MARK, RESULT, Piece, PieceCall
from attnfuse.tracing.blocks.stitching import Stitcher
from attnfuse.tracing.blocks.writing import write
from attnfuse.tracing.canonical import canonicalise
from tests.support.graphs import GraphBuilder, ValueType


def stand_in(g: GraphBuilder, key: str, arguments: Sequence[str], result: ValueType) -> str:
    """A stand-in for the block of that key."""
    mark = g.parameter(f"{MARK}{key}", np.zeros(1, np.float32))
    made = g.node(BLOCK, [mark, *arguments], result)
    primitive = g.proto.primitives[-1]
    primitive.attribute.add(name="block", type=AttributeProto.STRING, s=key.encode())
    primitive.name = f"{BLOCK}:{key}_"  # of its own, so that the next is not taken for the same
    g.graph.node[-1].op_type = f"REF::{primitive.name}"
    return made


def block(name: str = "block") -> GraphBuilder:
    """The builder of a block's graph: its nodes are scoped as MindSpore scopes those below `Entry.block`."""
    g = GraphBuilder(name, weights=False)
    g.scope = "Default/block-Block"
    return g


def finished(g: GraphBuilder, result: str) -> ModelProto:
    """A block's message: what it gives stands before a node that only says what that is."""
    g.output(g.node(RESULT, [result], TensorType((1,), FLOAT32)))
    return g.build()


def call(
    piece: int, parameters: Mapping[str, str], scope: str = "Default/model-Model/1-Block", **told: Any
) -> PieceCall:
    """The call of a block that takes one tensor and gives one, unless told otherwise."""
    told = {"arguments": ["tensor"], "result": "tensor", **told}
    return PieceCall(piece=piece, parameters=dict(parameters), scope=scope, **told)


def put_together(
    models: Sequence[ModelProto],
    calls: Sequence[Mapping[str, PieceCall]],
    name: str = "model",
    scopes: Sequence[str] = ("Default", "Default/model-Model/0-Block"),
    owners: Mapping[str, str] | None = None,
) -> ModelProto:
    """The whole graph of pieces, where those were traced and weights belong."""
    pieces = [
        Piece(f"piece_{i}.mindir", "Block" if i else "Model", dict(called), scope, dict(owners or {}))
        for i, (called, scope) in enumerate(zip(calls, scopes[: len(calls)], strict=True))
    ]
    made: ModelProto = write(Stitcher(pieces, models).wanted(), models[0])
    canonicalise(made, name)
    return made
