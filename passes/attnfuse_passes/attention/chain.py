"""Around a Softmax: back to the product that made the scores, forward to the one that the weights enter.

Only the chain of nodes is found here, step by step through the identities; what their axes mean is for `formula.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.api import MatchFailure, Model, Node, Role, Use, effective_uses, role
from attnfuse_passes.attention.census import enters_product, looks_like_attention, soft_cap
from attnfuse_passes.attention.identities.product import MAX_CHAIN, Product, is_scores, product_ahead, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.steps import NanToZero, Step


@dataclass(frozen=True, slots=True)
class Forward:
    """The way from the softmax to P·V: the steps in graph order, the product at its end, tests for NaN beside it."""

    steps: list[Step]
    product: Product
    weights_left: bool
    tests: list[Node]


def find_scores(model: Model, softmax: Node) -> tuple[list[Step], Product]:
    """The product that made the scores, and the steps to it, last first. Raises MatchFailure where there is none."""
    value = softmax.inputs[0]
    steps: list[Step] = []
    for _ in range(MAX_CHAIN):
        found = read_product(model, value)
        if found is not None:
            return steps, found
        step = read_back(model, value, SitePart.SCORES)
        if step is None:
            break
        steps.append(step)
        value = step.input
    raise _no_scores(model, softmax, value)


def _no_scores(model: Model, softmax: Node, value: str) -> MatchFailure:
    node = model.producer(value)
    capped = soft_cap(model, value)
    if capped is not None:
        return MatchFailure(
            "structure.soft_cap", capped.name, "scores that are scaled, masked or biased only", capped.op
        )
    # A scores-like chain that ends in an operator nobody can read, with a product right behind it and another in
    # front of the weights, is attention in a spelling we lack; anything else is a softmax of another kind.
    near = node is not None and any(is_scores(model, name) for name in node.inputs)
    like = (near and _reaches_product(model, softmax)) or looks_like_attention(model, softmax)
    return MatchFailure(
        "structure.scores",
        value,
        "scores made by one matrix product, through known identities",
        "an input or a weight" if node is None else node.op,
        is_attention=like,
    )


def _reaches_product(model: Model, softmax: Node) -> bool:
    try:
        find_weights(model, softmax)
    except MatchFailure:
        return False
    return True


def find_weights(model: Model, softmax: Node) -> Forward:
    """The product that the weights enter, and the steps to it. Raises MatchFailure where they enter none alone."""
    value = softmax.name
    steps: list[Step] = []
    tests: list[Node] = []
    for _ in range(MAX_CHAIN):
        uses = effective_uses(model, value)
        onward = [u.node for u in uses if u.node is not None]
        guard = _guarded(model, value, onward)
        if guard is not None:
            onward, uses = [guard], uses[:1]
            guards = [n for n in (u.node for u in model.uses(value)) if n is not None and n is not guard]
            tests.extend(n for n in guards if role(n) is Role.NAN_TEST)
        if len(uses) != 1 or not onward:
            raise _escape(model, value, uses)
        node = onward[0]
        found = product_ahead(model, value, node)
        if found is not None and found.term is None and value in (found.left, found.right):
            if found.left == found.right:
                break
            return Forward(steps, found, found.left == value, tests)
        step = read_back(model, node.name, SitePart.WEIGHTS)
        if step is None or step.input != value:
            raise _weights_changed(model, softmax, node)
        steps.append(step)
        value = node.name
    raise MatchFailure("anchor.no_product", value, "a matrix product of the weights", "none", is_attention=False)


def _guarded(model: Model, value: str, users: list[Node]) -> Node | None:
    """The node that replaces NaN in `value`, if `value` feeds it and its own IsNan and nothing else."""
    tests = [n for n in users if role(n) is Role.NAN_TEST]
    others = [n for n in users if n not in tests]
    if len(tests) != 1 or len({n.name for n in others}) != 1:
        return None
    step = read_back(model, others[0].name, SitePart.WEIGHTS)
    if step is None or not isinstance(step.effect, NanToZero) or len(effective_uses(model, tests[0].name)) != 1:
        return None
    return others[0]


def _escape(model: Model, value: str, uses: list[Use]) -> MatchFailure:
    multiplied = any(u.node is not None and enters_product(model, u.node) for u in uses)
    what = "an output of the graph" if any(u.node is None for u in uses) else f"{len(uses)} uses"
    expected = "one use of the attention weights, the product with value"
    return MatchFailure("safety.weights_escape", value, expected, what, is_attention=multiplied)


def _weights_changed(model: Model, softmax: Node, node: Node) -> MatchFailure:
    onward = [u.node for u in effective_uses(model, node.name) if u.node is not None]
    if any(enters_product(model, n) for n in onward) or looks_like_attention(model, softmax):
        return MatchFailure(
            "structure.weights_changed", node.name, "weights that go unchanged into the product", node.op
        )
    expected = "a matrix product of the weights"
    return MatchFailure("anchor.no_product", node.name, expected, node.op, is_attention=False)
