"""What the maker of nodes refuses: slips of whoever writes a site, which must not reach a file."""

from __future__ import annotations

import pytest

from attnfuse.api import Edit
from attnfuse_passes.emit.builder import Builder
from tests.support.graphs import GraphBuilder


def builder() -> tuple[Builder, str, str]:
    """In place of a node that doubles an input: the builder, the input, and a literal."""
    g = GraphBuilder()
    x = g.input("x", (2, 3))
    doubled = g.muls(x, 2.0)
    g.output(doubled)
    model = g.model()
    anchor = model.producer(doubled)
    assert anchor is not None
    return Builder(Edit(model), anchor, "site"), x, anchor.inputs[1]


def test_a_value_that_is_no_tensor_has_no_type() -> None:
    b, x, literal = builder()
    assert b.type_of(x).dims == (2, 3)
    with pytest.raises(TypeError, match="is no tensor"):
        b.type_of(literal)


def test_a_site_ends_with_the_node_made_last() -> None:
    b, x, _ = builder()
    early = b.scaled(x, 3.0)
    b.scaled(early, 4.0)
    with pytest.raises(ValueError, match="is not the last node of site site"):
        b.finish(early)
