"""Sites are named by the module whose weights feed them, not by scopes, which are wrong on CPU traces."""

from __future__ import annotations

from attnfuse.ir.graph import Model
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse_passes.naming import SiteNames, slug
from tests.support.fusing import fuse
from tests.support.graphs import GraphBuilder, self_attention


def modules(g: GraphBuilder) -> list[str]:
    return [site.module for site in fuse(g.model())]


def blocks(*names: str, scope: str = "Default", wrong_scope: str | None = None) -> GraphBuilder:
    g = GraphBuilder()
    x = g.input("x", (2, 6, 16), FLOAT16)
    g.scope = wrong_scope or scope
    for name in names:
        x = self_attention(g, x, name, heads=2)
    g.output(x)
    return g


def test_the_module_is_that_of_the_projections() -> None:
    g = blocks("blocks.0.attn1", "blocks.1.attn1", wrong_scope="Default/blocks-CellList/0-Block/attn1-Attention")
    assert modules(g) == ["blocks.0.attn1", "blocks.1.attn1"]


def test_a_name_that_comes_again_is_numbered() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 6, 16), FLOAT16)
    q, k, v = (g.dense(x, f"attn.{name}", 16) for name in ("to_q", "to_k", "to_v"))
    for _ in range(3):
        q = g.bmm(g.softmax(g.bmm(q, g.transpose(k, (0, 2, 1)))), v)
        k = g.muls(k, 1.5)
    g.output(q)
    assert modules(g) == ["attn", "attn#2", "attn#3"]


def test_the_wrapper_that_only_serves_the_export_is_left_out() -> None:
    """Every parameter starts with the attribute of the exported cell, which its scope shows to be a module."""
    wrapped = blocks("unet.attn1", scope="Default/unet-UNet2DConditionModel")
    assert modules(wrapped) == ["attn1"]
    assert modules(blocks("unet.attn1")) == ["unet.attn1"], "no scope says that it is a wrapper"
    two = blocks("unet.attn1", "vae.attn1", scope="Default/unet-UNet2DConditionModel")
    assert modules(two) == ["unet.attn1", "vae.attn1"]
    numbered = blocks("blocks.0", "blocks.1", scope="Default/blocks-CellList")
    assert modules(numbered) == ["blocks.0", "blocks.1"], "a list of blocks is part of the model"


def test_without_weights_the_node_gives_the_name() -> None:
    g = GraphBuilder()
    q, k, v = (g.input(name, (2, 6, 16), FLOAT16) for name in "qkv")
    result = g.matmul_ext(g.softmax(g.batch_matmul(q, k, transpose_b=True)), v)
    g.output(result)
    assert modules(g) == [result.split(":", 1)[1]]


def test_query_names_a_site_whose_operands_come_from_different_modules() -> None:
    """In joint attention key and value may come from elsewhere."""
    g = GraphBuilder()
    x = g.input("x", (2, 6, 16), FLOAT16)
    q = g.dense(x, "decoder.layers.3.cross.to_q", 16)
    k, v = g.dense(x, "encoder.final.to_k", 16), g.dense(x, "encoder.final.to_v", 16)
    g.output(g.bmm(g.softmax(g.bmm(q, g.transpose(k, (0, 2, 1)))), v))
    assert modules(g) == ["decoder.layers.3.cross"]


def test_what_is_no_attention_is_named_too() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 6, 16), FLOAT16)
    g.output(g.softmax(g.dense(x, "classifier.out", 10)))
    assert modules(g) == ["classifier"]


def test_a_weight_enters_a_function_as_an_input_that_keeps_its_name() -> None:
    g = GraphBuilder()
    x = g.input("x", (2, 6, 16), FLOAT16)
    weight = g.input("CR_block.attn.to_q.weight", (16, 16), FLOAT16)
    product = g.batch_matmul(x, weight)
    g.output(product)
    model = Model(g.build())
    node = model.producer(product)
    assert node is not None
    names = SiteNames(model)
    assert names.of_values(node, product) == "block.attn"
    assert names.of_values(node, product) == "block.attn#2"
    assert names.of_values(node, x) == product.split(":", 1)[1]


def test_a_slug_is_safe_in_a_node_name() -> None:
    assert slug("a.b_c#2") == "a.b_c#2"
    assert slug("x:y/z w") == "x_y_z_w"
