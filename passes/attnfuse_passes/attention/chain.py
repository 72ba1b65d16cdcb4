"""Around a softmax: back to the product that made the scores, forward to the one that the weights enter.

Only the chain of nodes is found here, step by step through the identities; what their axes mean is for `formula.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from attnfuse.api import MatchFailure, Model, Node, Obligation, Use, effective_uses
from attnfuse_passes.attention.census import enters_product, looks_like_attention, soft_cap
from attnfuse_passes.attention.identities.product import MAX_CHAIN, Product, is_scores, product_ahead, read_product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.steps import DivideBySum, Step
from attnfuse_passes.attention.restated.reweighted import is_weighed_again
from attnfuse_passes.attention.softmax import CODE, SoftmaxRoot, is_sum_of


@dataclass(frozen=True, slots=True)
class Forward:
    """The way from the softmax to P·V: the steps in graph order, the product at its end, and nodes beside the steps.

    `behind` are the steps from the product to the division by the sum of the weights, where that stands behind it.
    `others` are further products of the same weights, each with another value.
    """

    steps: list[Step]
    product: Product
    weights_left: bool
    beside: list[Node]
    behind: list[Step] = field(default_factory=list)
    others: tuple[Product, ...] = ()

    @property
    def anchor(self) -> Node:
        """The node whose value the attention is."""
        return self.behind[-1].node if self.behind else self.product.node


def find_scores(model: Model, root: SoftmaxRoot) -> tuple[list[Step], Product]:
    """The product that made the scores, and the steps to it, last first. Raises MatchFailure where there is none."""
    value = root.scores
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
    raise _no_scores(model, root, value)


def _no_scores(model: Model, root: SoftmaxRoot, value: str) -> MatchFailure:
    node = model.producer(value)
    capped = soft_cap(model, value)
    if capped is not None:
        return MatchFailure(
            "structure.soft_cap", capped.name, "scores that are scaled, masked or biased only", capped.op
        )
    # A scores-like chain that ends in an operator nobody can read, with a product right behind it and another in
    # front of the weights, is attention in a spelling we lack; anything else is a softmax of another kind.
    near = node is not None and any(is_scores(model, name) for name in node.inputs)
    like = (near and _reaches_product(model, root)) or looks_like_attention(model, root.node)
    return MatchFailure(
        "structure.scores",
        value,
        "scores made by one matrix product, through known identities",
        "an input or a weight" if node is None else node.op,
        is_attention=like,
    )


def _reaches_product(model: Model, root: SoftmaxRoot) -> bool:
    try:
        find_weights(model, root)
    except MatchFailure:
        return False
    return True


def find_weights(model: Model, root: SoftmaxRoot, which: int = 0) -> Forward:
    """The product that the weights enter, and the steps to it. Raises MatchFailure where they enter none alone.

    Where they enter several, each with another value, it is the one of number `which`, in file order.
    """
    value = root.node.name
    sums = {node.name for node in root.sums}
    steps: list[Step] = []
    beside: list[Node] = list(root.sums)
    for _ in range(MAX_CHAIN):
        uses = [u for u in effective_uses(model, value) if u.node is None or u.node.name not in sums]
        step, nodes = _next(model, value, uses, sums)
        if step is not None:
            steps.append(step)
            beside += nodes
            value = step.node.name
            continue
        products = _products(model, value, uses)
        if products:
            chosen = products[which]
            behind = _behind(model, root, chosen, steps)
            others = tuple(product for product in products if product is not chosen)
            return Forward(steps, chosen, chosen.left == value, beside, behind, others)
        users = {use.node.name: use.node for use in uses if use.node is not None}
        if len(uses) != 1 or not users:
            raise _escape(model, root, value, uses)
        (node,) = users.values()
        product = product_ahead(model, value, node)
        if product is not None and value in (product.left, product.right):
            break
        raise _weights_changed(model, root, node)
    raise MatchFailure("anchor.no_product", value, "a matrix product of the weights", "none", is_attention=False)


# How many nodes the weights may go through, side by side, before an identity is read that has them as its input.
_SIDE_BY_SIDE = 24


def _next(model: Model, value: str, uses: list[Use], sums: set[str]) -> tuple[Step | None, list[Node]]:
    """The next identity that has the value as its input, and the nodes beside it: tests, parts, a tensor of its shape.

    Everything that reads the value must end there; else it is read elsewhere.
    """
    users = [use.node for use in uses if use.node is not None]
    if not users or len(users) != len(uses) or any(product_ahead(model, value, user) is not None for user in users):
        return None, []
    reached: dict[str, Node] = {}
    pending = list(users)
    while pending and len(reached) < _SIDE_BY_SIDE:
        node = pending.pop(0)
        if node.name in reached:
            continue
        reached[node.name] = node
        if read_product(model, node.name) is None:
            pending += [use.node for use in effective_uses(model, node.name) if use.node is not None]
    for node in reached.values():
        step = read_back(model, node.name, SitePart.WEIGHTS)
        beside = _closed(model, value, node, reached, sums) if step is not None and step.input == value else None
        if beside is not None:
            return step, beside
    return None, []


def _closed(model: Model, value: str, end: Node, reached: dict[str, Node], sums: set[str]) -> list[Node] | None:
    """The nodes between the value and `end`, if nothing else reads the value or any of them."""
    inside: dict[str, Node] = {}
    pending = list(end.inputs)
    while pending:
        name = pending.pop()
        if name != value and name in reached and name not in inside:
            inside[name] = reached[name]
            pending += reached[name].inputs
    for name in (value, *inside):
        for use in effective_uses(model, name):
            if use.node is None or (use.node.name not in inside and use.node.name not in sums | {end.name}):
                return None
    return list(inside.values())


def _products(model: Model, value: str, uses: list[Use]) -> list[Product]:
    """The products that the value enters, if it enters nothing else, and none twice; in file order."""
    found = []
    for use in uses:
        product = None if use.node is None else product_ahead(model, value, use.node)
        if product is None or product.term is not None or (product.left == value) == (product.right == value):
            return []
        found.append(product)
    place = {node.name: i for i, node in enumerate(model.nodes)} if len(found) > 1 else {}
    return sorted(found, key=lambda product: place.get(product.node.name, 0))


def _behind(model: Model, root: SoftmaxRoot, product: Product, steps: list[Step]) -> list[Step]:
    """The steps from the product to the division by the sum of the weights, where that does not stand before it."""
    if not root.divided or any(isinstance(step.effect, DivideBySum) for step in steps):
        return []
    found: list[Step] = []
    value = product.node.name
    for _ in range(MAX_CHAIN):
        onward = [use.node for use in effective_uses(model, value)]
        step = None if len(onward) != 1 or onward[0] is None else read_back(model, onward[0].name, SitePart.RESULT)
        if step is None or step.input != value:
            break
        found.append(step)
        if isinstance(step.effect, DivideBySum) and is_sum_of(model, step.effect, root.node):
            return found
        value = step.node.name
    raise MatchFailure(CODE, value, "a division of the product by the sum of its weights", "none on this way")


def _escape(model: Model, root: SoftmaxRoot, value: str, uses: list[Use]) -> MatchFailure:
    multiplied = any(u.node is not None and enters_product(model, u.node) for u in uses)
    multiplied = multiplied or looks_like_attention(model, root.node)
    what = "an output of the graph" if any(u.node is None for u in uses) else f"{len(uses)} uses"
    expected = "one use of the attention weights, the product with value"
    return MatchFailure("safety.weights_escape", value, expected, what, is_attention=multiplied)


def _weights_changed(model: Model, root: SoftmaxRoot, node: Node) -> MatchFailure:
    if is_weighed_again(model, node) and looks_like_attention(model, root.node):
        expected, found = "weights weighed again by numbers that are proved not to be below 0", "numbers that may be"
        return MatchFailure("structure.weights_changed", node.name, expected, found)
    onward = [u.node for u in effective_uses(model, node.name) if u.node is not None]
    if any(enters_product(model, n) for n in onward) or looks_like_attention(model, root.node):
        return MatchFailure(
            "structure.weights_changed", node.name, "weights that go unchanged into the product", node.op
        )
    expected = "a matrix product of the weights"
    return MatchFailure("anchor.no_product", node.name, expected, node.op, is_attention=False)


def check_private(model: Model, root: SoftmaxRoot, forward: Forward, interior: list[Node]) -> Obligation:
    """Scores and weights may have no reader outside the region: they would still have to be computed.

    Further products of the weights are sites too; what divides them reads the sum, and is looked at with them.
    """
    anchor, makers = forward.anchor, {node.name for node in root.sums}
    others = {node.name for product in forward.others for node in (product.node, *product.inner)}
    inside = {node.name for node in interior} | {anchor.name} | others
    for node in interior:
        outside = [
            use
            for use in effective_uses(model, node.name)
            if use.node is None or not (use.node.name in inside or (others and node.name in makers))
        ]
        if outside:
            reader = outside[0].node
            raise MatchFailure(
                "safety.scores_escape",
                node.name,
                "scores that only the softmax reads",
                "an output of the graph" if reader is None else reader.op,
            )
        if node.graph.name != anchor.graph.name:
            raise MatchFailure("safety.two_graphs", node.name, "one graph for the whole region", node.graph.name)
    return Obligation("private", f"none of the {len(inside)} values of the region is read outside it")
