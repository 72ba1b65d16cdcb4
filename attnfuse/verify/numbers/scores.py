"""The scores of an attention in the original's part, found from what makes a softmax's operand."""

from __future__ import annotations

from attnfuse.ir.graph import Model
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.questions import LAYOUTS, factor_positions, role, source
from attnfuse.ir.types import TensorType
from attnfuse.verify.numbers.baseline import SCALING, softmaxed


def scores_of(model: Model) -> list[str]:
    """Values between the product of query and key and the mask, of all parts of the keys: the product first, then as
    scaled."""
    products = (_product(model, value) for value in softmaxed(model))
    return [value for product in dict.fromkeys(filter(None, products)) for value in _scaled(model, product)]


def _product(model: Model, value: str) -> str | None:
    """The nearest product behind the softmax, through values of the scores' size."""
    tensor_type = model.type_of(value)
    level, seen = [value], {value}
    while level:
        for name in level:
            node = model.producer(name)
            if node is not None and role(node) is Role.PRODUCT:
                return name
        behind = [v for name in level if (node := model.producer(name)) is not None for v in node.inputs]
        level = [v for v in dict.fromkeys(behind) if v not in seen and _size(model.type_of(v)) == _size(tensor_type)]
        seen.update(level)
    return None


def _scaled(model: Model, product: str) -> list[str]:
    found = [product]
    made = model.producer(product)
    if made is not None and factor_positions(made) != (0, 1):
        return found  # its result has the mask in it already; only the product inside is told
    while True:
        users = [u.node for u in model.uses(found[-1]) if u.node is not None]
        if len(users) != 1 or not (users[0].op in SCALING or source(users[0], LAYOUTS) == found[-1]):
            return found
        others = [v for v in users[0].inputs if v != found[-1]]
        sizes_of_others = [tensor_type.size for v in others if (tensor_type := model.type_of(v)) is not None]
        if any(size != 1 for size in sizes_of_others):
            return found
        found.append(users[0].name)


def _size(tensor_type: TensorType | None) -> int:
    return tensor_type.size if tensor_type is not None and tensor_type.is_static else -1
