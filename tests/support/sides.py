"""Both sides of a comparison with drawn weights, where neither graph has values."""

from __future__ import annotations

from attnfuse.ir.graph import Model
from attnfuse.mindir import external
from attnfuse.verify.numbers.comparison import Side
from attnfuse.verify.numbers.weights import WeightProvider, drawn_weights, edited_from, first_of


def drawn_sides(original: Model, fused: Model, weights: WeightProvider | None = None) -> tuple[Side, Side]:
    """The same weights for both, drawn where none are given, and those that a rewrite edited made of them."""
    weights = weights or drawn_weights(0)
    sources = {external.parameter_name(parameter): parameter for parameter in external.parameters(original.proto)}
    return Side(original, weights), Side(fused, first_of(edited_from(weights, sources), weights))
