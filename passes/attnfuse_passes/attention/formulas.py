"""The formulas of the source, as rewrites: a site for each softmax, and one for each further value of its weights."""

from __future__ import annotations

from attnfuse.api import Effects, MatchFailure, Model, Node, RewriteContext, Role, operators_of, role
from attnfuse_passes.attention.chain import find_weights
from attnfuse_passes.attention.decide import AttentionRewrite, Sites
from attnfuse_passes.attention.formula import Reader
from attnfuse_passes.attention.identities.product import MAX_CHAIN, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.normal_form import Attention
from attnfuse_passes.attention.softmax import SoftmaxRoot, read_root
from attnfuse_passes.naming import SiteNames


def raise_formula(model: Model, root: SoftmaxRoot, effects: Effects, names: SiteNames, which: int = 0) -> Attention:
    """The attention around a softmax. Raises MatchFailure, which says how far it got and what was found.

    Where the weights have several values it is the one with the value of number `which`, provided that all are
    attentions alike: then none of them needs the weights any more.
    """
    reader = Reader(model, root, effects, which)
    attention = reader.read(names)
    for other in range(reader.values):
        if other != which and not _alike(attention, Reader(model, root, effects, other).read(SiteNames(model))):
            expected, found = "attentions alike, with each value of the weights", "others"
            raise MatchFailure("safety.weights_escape", attention.origin.anchor, expected, found)
    return attention


def _alike(one: Attention, other: Attention) -> bool:
    """Whether what may be done with the one may be done with the other: they differ in value alone."""
    return (one.sizes, one.value.dtype, one.output_dtype) == (other.sizes, other.value.dtype, other.output_dtype)


class FormulaOfAttention(AttentionRewrite):
    """softmax(scale · QKᵀ + terms) V, however it is spelled: one site for each softmax, by hand or not."""

    def __init__(self, sites: Sites) -> None:
        super().__init__(sites)
        self.roots = operators_of(Role.SOFTMAX) | operators_of(Role.EXPONENTIAL)

    def raise_(self, at: RewriteContext) -> Attention | None:
        root = read_root(at.model, at.node)
        return None if root is None else raise_formula(at.model, root, at.effects, self.sites.names)


class FormulaOfAnotherValue(AttentionRewrite):
    """The same weights times another value: a site at each product of theirs but the first, which is the softmax's."""

    def __init__(self, sites: Sites) -> None:
        super().__init__(sites)
        self.roots = operators_of(Role.PRODUCT)

    def raise_(self, at: RewriteContext) -> Attention | None:
        found = _another_value(at.model, at.node)
        if found is None:
            return None
        try:
            return raise_formula(at.model, found[0], at.effects, self.sites.names, found[1])
        except MatchFailure:
            return None  # it is told at the softmax


def _another_value(model: Model, node: Node) -> tuple[SoftmaxRoot, int] | None:
    """The softmax whose weights enter the product, and the product's number among theirs; None if it is the first."""
    product = read_product(model, node.name)
    for value in () if product is None else (product.left, product.right):
        start = _start(model, value)
        if start is None:
            continue
        try:
            root = read_root(model, start)
            if root is None or not find_weights(model, root).others:
                continue
            count = 1 + len(find_weights(model, root).others)
            for which in range(1, count):
                if find_weights(model, root, which).product.node.name == node.name:
                    return root, which
        except MatchFailure:
            continue
    return None


def _start(model: Model, value: str) -> Node | None:
    """The softmax or exponential that weights come from."""
    for _ in range(MAX_CHAIN):
        node = model.producer(value)
        if node is None or role(node) in (Role.SOFTMAX, Role.EXPONENTIAL):
            return node
        step = read_back(model, value, SitePart.WEIGHTS)
        if step is None:
            return None
        value = step.input
    return None
