"""What passes and verification ask of nodes, answered by the operator table: no reader lists operators of a sort.

Every answer is about one node. `Constant` and calls are no operators: they hand nothing on and are of no sort.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from attnfuse.ir.graph import CALL, CONSTANT, Model, Node
from attnfuse.ir.operators.arguments import Parameter
from attnfuse.ir.operators.columns import Effect, Hands, Kernel, Role
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import OPERATORS, operator

COPIES = frozenset({Hands.SAME, Hands.CONVERTED})
"""The same numbers in the same places; a cast rounds them."""
SEQUENCES = frozenset({Hands.SAME, Hands.REGROUPED})
"""The same numbers in the same row-major order: the shape alone says what the node does."""
LAYOUTS = COPIES | SEQUENCES | {Hands.MOVED}
"""Each number once, wherever it stands."""
ELEMENTS = LAYOUTS | {Hands.REPEATED, Hands.PICKED}
"""Numbers of one value and no others: some may be left out, some may come several times."""

_NEAR = 64
"""Values in front of another among which `nearest` looks."""


def hands(node: Node) -> Hands:
    """What the node does with the numbers of an argument."""
    return operator(node.op).value.hands


def role(node: Node) -> Role | None:
    """Of which sort the node is."""
    return operator(node.op).role


def kernel(node: Node) -> Kernel:
    """Of which sort the node's work is."""
    return operator(node.op).kernel


def source(node: Node, ways: Set[Hands]) -> str | None:
    """The input whose numbers the node hands on in one of those ways; None where it does otherwise."""
    row = operator(node.op)
    if row.value.hands not in ways:
        return None
    position = row.input(row.value.argument)
    return node.inputs[position] if position < len(node.inputs) else None


def behind(model: Model, value: str, ways: Set[Hands]) -> str:
    """The value that the numbers come from, through every node that hands them on in one of those ways."""
    while (node := model.producer(value)) is not None and (before := source(node, ways)) is not None:
        value = before
    return value


def nearest(model: Model, value: str, sought: Role) -> Node | None:
    """The node of that sort that makes the value, or the nearest in front of it; None where none is near."""
    level, seen = [value], set[str]()
    while level and len(seen) < _NEAR:
        nodes = [node for name in level if (node := model.producer(name)) is not None]
        found = next((node for node in nodes if role(node) is sought), None)
        if found is not None:
            return found
        seen.update(level)
        level = [name for node in nodes for name in node.inputs if name not in seen]
    return None


def nodes_of(model: Model, sort: Callable[[Operator], bool]) -> list[Node]:
    """The nodes of the operators of a sort, in their order; an operator is asked about once."""
    found = {op for op in {node.op for node in model.nodes} - {CONSTANT, CALL} if sort(operator(op))}
    return [node for node in model.nodes if node.op in found] if found else []


def operators_of(role: Role) -> frozenset[str]:
    """The names of the operators of a sort."""
    return frozenset(name for name, row in OPERATORS.items() if row.role is role)


def inputs_of(op: str) -> tuple[Parameter, ...]:
    """The inputs that the operator takes, in their order, as its row names them."""
    return operator(op).signature.inputs


def arguments(node: Node, name: str) -> list[str]:
    """The inputs that an argument of the node's operator stands for; all of them where it takes all that follow."""
    row = operator(node.op)
    position = row.input(name)
    several = row.signature.inputs[position].variadic and not row.is_opaque
    return node.inputs[position:] if several else node.inputs[position : position + 1]


def argument_name(node: Node, position: int) -> str:
    """What the node's operator calls that input; its position where the operator is not known."""
    row = operator(node.op)
    inputs = row.signature.inputs
    return str(position) if row.is_opaque or position >= len(inputs) else inputs[position].name


def sizes_position(node: Node) -> int | None:
    """Which input is a list of whole numbers: sizes, counts or axes. None where none is."""
    inputs = operator(node.op).signature.inputs
    return next((position for position, parameter in enumerate(inputs) if parameter.kind == "ints"), None)


def changed(model: Model, node: Node) -> list[str]:
    """The values whose memory the node changes."""
    memory = operator(node.op).memory
    if memory.effect is not Effect.WRITES:
        return []
    if memory.unless_none:
        checked = arguments(node, memory.unless_none)
        if not checked or (model.is_literal(checked[0]) and model.literal(checked[0]) is None):
            return []
    return arguments(node, memory.argument)


def aliased(node: Node) -> list[str]:
    """The values whose memory the node may give under another name, unchanged."""
    memory = operator(node.op).memory
    return arguments(node, memory.argument) if memory.effect is Effect.ALIAS else []


def writes_conditionally(node: Node) -> bool:
    """Whether an argument tells if the node changes memory at all (see `changed`)."""
    return bool(operator(node.op).memory.unless_none)


def reads_memory(node: Node) -> bool:
    """Whether the node gives what memory holds when its turn comes in the order of effects."""
    return operator(node.op).memory.effect is Effect.READS


def keeps_order(node: Node) -> bool:
    """Whether the node hands on its first input unchanged; the others tell its place in the order of effects."""
    row = operator(node.op)
    return row.value.hands is Hands.SAME and len(row.signature.inputs) > 1


def value_inputs(node: Node) -> Sequence[str]:
    """The inputs whose values the node's is made of: all, or of one that keeps order the first alone."""
    return node.inputs[:1] if keeps_order(node) else node.inputs


def makes_tuple(node: Node) -> bool:
    """Whether the node puts values together to a tuple or a list, and does nothing with them."""
    row = operator(node.op)
    return row.role is Role.TUPLE and row.value.hands is Hands.JOINED


def takes_element(node: Node) -> bool:
    """Whether the node takes one element of a tuple: its second input says which."""
    row = operator(node.op)
    return row.role is Role.TUPLE and row.value.hands is Hands.PICKED


def orders_effects(node: Node) -> bool:
    """Whether the node gives no numbers, but the order of effects."""
    return operator(node.op).memory.effect is Effect.ORDERS


def factor_positions(node: Node) -> tuple[int, int] | None:
    """Which inputs are the operands of a matrix product, left and right; None where the node is none.

    Operators that add another tensor to the product take it first, as torch's addmm does.
    """
    row = operator(node.op)
    if row.role not in (Role.PRODUCT, Role.PROJECTION):
        return None
    left = 1 if "beta" in row.signature.positions else 0
    return (left, left + 1) if left + 1 < len(node.inputs) else None


def factors(node: Node) -> tuple[str, str] | None:
    """Both operands of a matrix product, left and right; None where the node is none."""
    positions = factor_positions(node)
    return None if positions is None else (node.inputs[positions[0]], node.inputs[positions[1]])
