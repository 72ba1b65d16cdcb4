"""Puts together what the worker traced in pieces. Main side: imports no MindSpore, but the reader of MindIR messages.

It is not done in the worker because MindSpore chooses the slower of protobuf's backends for its process.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from attnfuse.mindir import codec
from attnfuse.tracing.blocks.pieces import read_pieces
from attnfuse.tracing.blocks.stitching import Stitcher
from attnfuse.tracing.blocks.writing import write
from attnfuse.tracing.canonical import canonicalise
from attnfuse.tracing.contract import TracedComponent
from attnfuse.tracing.graph_weights import weights_of


def assemble(traced: TracedComponent, work: Path) -> TracedComponent:
    """Write the graph of the pieces in `work`; return the component with the weights that the graph has.

    Raises NotPutTogetherError where the pieces cannot be put together, TraceError where a weight is missing.
    """
    pieces = read_pieces(work)
    models = [codec.parse((work / piece.file).read_bytes(), f"the trace of {piece.kind}") for piece in pieces]
    model = write(Stitcher(pieces, models).wanted(), models[0])
    canonicalise(model, traced.plan.name)
    weights = weights_of(model.graph, {weight.parameter: weight for weight in traced.weights}, traced.plan)
    traced.graph.write_bytes(codec.serialise(model))
    return replace(traced, weights=weights)
