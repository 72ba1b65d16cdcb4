"""Transpositions that a product does on its way: of its operand by a flag, of its result by exchanging its operands.

CANN's graph engine makes a flag of a Transpose only where it swaps the last two axes of what one product reads as it is
(docs/cost.md, rule 8). Here a batch of pictures [B, C, H, W] that goes as rows [B·H·W, C] into a product with a matrix
is [B, C, H·W] in a BatchMatMul by [1, C, D], with a flag for it; and rows [B·H·W, C] whose product becomes
[B, D, H, W] are multiplied from the left, [1, D, C] by [B, H·W, C] with a flag for it. The matrix is read once whatever
the batch. MindSpore's BatchMatMul and CANN's broadcast batches (BatchMatMulFuncImpl of 2.7.1; the prototype of CANN's
BatchMatMul), and take the types that MatMul takes.

A rule speaks where fewer bytes move by the rules of the estimate: always by those that the Transpose reads and writes,
for it goes only where nothing reads it any more, and where nothing else becomes a kernel or larger:

- BatchMatMul has no input for a bias. Behind it a bias by column is free (rule 3; CANN's MatMulBiasAddFusionPass takes
  none that another product reads too), a bias by row if it joins the elementwise operation behind it (rule 4).
- Where products take FRACTAL_NZ, rows of a part of the batch fill whole blocks, and the format spreads no further than
  it did: a Reshape stops it, and what does not take it (rule 12).
- What takes in the operations that stand directly behind a product (rules 3 and 6) has them there still.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from attnfuse.api import (
    CONSTANT,
    COPIES,
    SPECIFICATIONS,
    Builder,
    Hands,
    Kernel,
    Model,
    Node,
    RewriteContext,
    TensorType,
    behind,
    cannot,
    effective_uses,
    hands,
    kernel,
    takes_element,
)
from attnfuse_passes.attention.axes import Atom, Axis, Space, keys, product
from attnfuse_passes.legalise import nodes
from attnfuse_passes.simplify.layout import MADE, OPERAND, chain_of, space_of
from attnfuse_passes.simplify.rules import Regroup, Simpler, Step, simplifies

_PRODUCTS = frozenset({"MatMul", "BatchMatMul"})
_FLAGS = ("transpose_a", "transpose_b")
_NEIGHBOURS = frozenset({"Add", "Sub", "Mul"})
"""Elementwise operations with which a bias becomes one kernel."""
_BLOCK = 16
"""Rows to a block of FRACTAL_NZ."""
_MOST = 16
"""How many readers of a transposed tensor are looked at, and nodes in a row: more than models have."""
_NEAR = 256
"""Values in front of a tensor among which an input of the graph is looked for."""
_ROW_MAJOR = frozenset({CONSTANT, "AddLayerNorm", "GroupNorm", "GroupNormSilu"})
"""What takes and gives no FRACTAL_NZ, of normalisations."""


@dataclass(frozen=True, slots=True)
class _Product:
    """A MatMul or BatchMatMul: its operands with their types, whether each is transposed, and its bias by column."""

    at: RewriteContext
    operands: tuple[str, str]
    types: tuple[TensorType, TensorType]
    flags: tuple[bool, bool]
    bias: str | None

    @property
    def is_matrix(self) -> bool:
        """Whether both operands are matrices, and so the result."""
        return all(kind.rank == 2 for kind in self.types)


@dataclass(frozen=True, slots=True)
class Multiply:
    """The product of the value, its operand `side`, and `other`, which is regrouped to `dims` before."""

    op: str
    side: int
    other: str
    dims: tuple[int, ...]
    flags: tuple[bool, bool]
    bias: str | None = None

    def write(self, build: Builder, value: str) -> str:
        other = build.reshape(self.other, self.dims)
        operands = (value, other) if self.side == 0 else (other, value)
        if self.bias is None:
            return build.op(self.op, *operands, *map(build.constant, self.flags))
        flags = [nodes.flag(name, value=flag) for name, flag in zip(_FLAGS, self.flags, strict=True)]
        return build.op(self.op, *operands, self.bias, prim_type=build.PRIMITIVE, attributes=flags)


@dataclass(frozen=True, slots=True)
class AddBias:
    """A bias, regrouped to `dims` before, added to the value."""

    bias: str
    dims: tuple[int, ...]

    def write(self, build: Builder, value: str) -> str:
        return build.op("Add", value, build.reshape(self.bias, self.dims))


@simplifies("MatMul", "BatchMatMul")
def transposed_operand(at: RewriteContext) -> Simpler | None:
    """An operand is transposed, for this product and others that can do so themselves."""
    chains = [_transposition(at, at.input(side)) for side in (0, 1)]
    if not any(chains):
        return None  # as of most products: no more is asked of them
    read = _product(at)
    for side, chain in enumerate(chains):
        if chain and not _is_left_out(at.model, chain[-1]) and all(map(_is_taken, _readers(at, chain[-1]))):
            return _taken(read, side, chain)
    return None


@simplifies("Transpose")
def transposed_result(at: RewriteContext) -> Simpler | None:
    """The result of a product is transposed, and nothing reads it as it is."""
    chain, value = [at.node], at.input(0)
    while (node := at.model.producer(value)) is not None and len(chain) < _MOST:
        if len(effective_uses(at.model, value)) != 1:
            return None
        if node.op in _PRODUCTS:
            read = _product(replace(at, node=node))
            return None if _is_left_out(at.model, at.node) else _exchanged(at, read, chain)
        if hands(node) is not Hands.REGROUPED:
            return None
        chain.append(node)
        value = node.inputs[0]
    return None


def _product(at: RewriteContext) -> _Product:
    """Raises MatchFailure for one of sizes not known before run time, or that the SoC has no kernel for."""
    held = [at.attribute(name) for name in _FLAGS]
    position = 4 if held[0] is None else 2
    flags = (at.flag(2), at.flag(3)) if held[0] is None else (bool(held[0]), bool(held[1]))
    if not at.out.is_static or 0 in at.out.dims:
        raise cannot(f"it makes {at.out}")
    if (missing := at.missing_kernel()) is not None:
        raise cannot(missing.message(at.node.op, at.target.soc))
    bias = at.optional(position) if len(at.node.inputs) > position else None
    return _Product(at, (at.input(0), at.input(1)), (at.static(0), at.static(1)), flags, bias)


def _is_left_out(model: Model, transpose: Node) -> bool:
    """Whether the Transpose is no kernel: of constants (rule 1), or the engine makes a flag of it itself (rule 8)."""
    if not _is_computed(model, transpose.name):
        return True
    uses, kind = effective_uses(model, transpose.name), model.type_of(transpose.inputs[0])
    if len(uses) != 1 or uses[0].node is None or uses[0].node.op not in _PRODUCTS or kind is None:
        return False
    order = model.literal(transpose.inputs[1]) if model.is_literal(transpose.inputs[1]) else None
    swapped = [*range(kind.rank - 2), kind.rank - 1, kind.rank - 2]
    return isinstance(order, tuple) and [axis % kind.rank for axis in order if isinstance(axis, int)] == swapped


def _is_computed(model: Model, value: str) -> bool:
    """Whether more than weights and constants goes into the value, as far as it is looked."""
    pending, seen = [value], {value}
    while pending and len(seen) < _NEAR:
        name = pending.pop()
        node = model.producer(name)
        if node is None and not model.is_parameter(name):
            return True
        fresh = [] if node is None else [one for one in node.inputs if one not in seen]
        pending += fresh
        seen.update(fresh)
    return bool(pending)


def _around(atoms: Sequence[Atom], inner: Sequence[Atom]) -> tuple[Axis, Axis] | None:
    """What stands before and behind some of the atoms, which follow each other; None where they do not."""
    sought, found = keys(inner), keys(atoms)
    at = found.index(sought[0]) if sought and sought[0] in found else 0
    end = at + len(sought)
    return (tuple(atoms[:at]), tuple(atoms[end:])) if sought and found[at:end] == sought else None


def _fills_blocks(at: RewriteContext, rows: int) -> bool:
    """Whether rows of a part of the batch are no more bytes in the format of products than those of all together."""
    return not (SPECIFICATIONS[at.target.soc].products_in_blocks and rows % _BLOCK)


def _spreads(at: RewriteContext, node: Node | None) -> bool:
    """Whether the format of products goes on to the node from a product beside it, where they have one of their own."""
    while node is not None and takes_element(node):
        node = at.model.producer(node.inputs[0])
    if node is None or node.op in _ROW_MAJOR or not SPECIFICATIONS[at.target.soc].products_in_blocks:
        return False
    return kernel(node) in (Kernel.ELEMENTWISE, Kernel.SOFTMAX, Kernel.NORM)


def _own_bias(at: RewriteContext, bias: str) -> str | None:
    """The weight that the bias is, in the element type of the product; None where it is computed or of another type."""
    weight = behind(at.model, bias, frozenset({Hands.CONVERTED}))
    kind = at.model.type_of(weight)
    is_own = kind is not None and kind.dtype == at.out.dtype
    return weight if is_own and nodes.is_learned(at.model, weight) else None


# --- the operand


def _transposition(at: RewriteContext, value: str) -> list[Node]:
    """The nodes that make an operand of another value, the last first: regroupings, and before them one Transpose.

    None at all where it is not made so. Of several Transposes other rules make one.
    """
    node = at.model.producer(value)
    chain = [] if node is None or node.op == CONSTANT else chain_of(at.model, node)
    moving = [node for node in chain if hands(node) is Hands.MOVED]
    return chain if len(moving) == 1 and moving[0].op == "Transpose" else []


def _readers(at: RewriteContext, transpose: Node) -> Iterator[tuple[RewriteContext, str] | None]:
    """Products that read the transposed tensor, through regroupings, each with the value it reads; None for others."""
    pending, looked_at = [transpose.name], 0
    while pending:
        value = pending.pop()
        for use in effective_uses(at.model, value):
            looked_at += 1
            if use.node is None or looked_at > _MOST:
                yield None
            elif use.node.op in _PRODUCTS:
                yield replace(at, node=use.node), value
            elif hands(use.node) is Hands.REGROUPED:
                pending.append(use.node.name)
            else:
                yield None


def _is_taken(reader: tuple[RewriteContext, str] | None) -> bool:
    """Whether the product can transpose the value itself."""
    if reader is None:
        return False
    at, value = reader
    read = _product(at)
    sides = [side for side in (0, 1) if read.operands[side] == value]
    return len(sides) == 1 and _taken(read, sides[0], _transposition(at, value)) is not None


def _taken(read: _Product, side: int, chain: Sequence[Node]) -> Simpler | None:
    """The product of what is transposed."""
    space = space_of(read.at, chain)
    if space is None:
        return None
    source, (*batch, rows, columns) = space[MADE].source, space[MADE].axes
    is_last = read.flags[side] == (side == 1)
    summed, kept = (columns, rows) if is_last else (rows, columns)
    outer = [atom for axis in batch for atom in axis]
    for last, order in ((True, (*outer, *kept, *summed)), (False, (*outer, *summed, *kept))):
        if keys(source) == keys(order):
            return _flagged(read, side, chain, kept, summed, is_last=last)
    return None if outer or side else _by_batches(read, chain, _around(source, summed), kept, summed)


def _flagged(
    read: _Product, side: int, chain: Sequence[Node], kept: Axis, summed: Axis, *, is_last: bool
) -> Simpler | None:
    """With another flag; `is_last` where the axis that is summed up is the last of what was transposed."""
    sizes = (product(kept), product(summed)) if is_last else (product(summed), product(kept))
    flag, other = is_last == (side == 1), 1 - side
    flags = (flag, read.flags[1]) if side == 0 else (read.flags[0], flag)
    multiply = Multiply(read.at.node.op, side, read.operands[other], read.types[other].dims, flags, read.bias)
    return _of_operand(read, side, chain, (*read.types[side].dims[:-2], *sizes), (multiply,))


def _by_batches(
    read: _Product, chain: Sequence[Node], parts: tuple[Axis, Axis] | None, kept: Axis, summed: Axis
) -> Simpler | None:
    """Of matrices: by parts of the batch, in each of which the rows come behind the axis that is summed up."""
    at = read.at
    if parts is None or not read.is_matrix or keys((*parts[0], *parts[1])) != keys(kept):
        return None
    batch, rows = map(product, parts)
    bias = None if read.bias is None else _own_bias(at, read.bias)
    if read.bias is not None and (bias is None or not _is_lone(at.model, read.bias)):
        return None
    if not _fills_blocks(at, rows) or any(map(_is_elementwise, _uses(at.model, at.node.name))):
        return None
    matrix = (1, *read.types[1].dims)
    multiply = Multiply("BatchMatMul", 0, read.operands[1], matrix, (True, read.flags[1]))
    added = () if bias is None else (AddBias(bias, (at.out.dims[-1],)),)
    return _of_operand(read, 0, chain, (batch, product(summed), rows), (multiply, *added, Regroup(at.out.dims)))


def _of_operand(
    read: _Product, side: int, chain: Sequence[Node], dims: tuple[int, ...], steps: tuple[Step, ...]
) -> Simpler | None:
    """The steps behind what was transposed, which is regrouped to `dims` before."""
    at, operand = read.at, chain[-1].inputs[0]
    if dims[-1] == at.tensor(operand, "it").dims[-1] and _spreads(at, at.model.producer(operand)):
        return None
    through = (*(node.name for node in chain), read.operands[1 - side], *_given(read.bias))
    return Simpler("a transposition that a product does by a flag", operand, (Regroup(dims), *steps), through)


def _given(bias: str | None) -> tuple[str, ...]:
    return () if bias is None else (bias,)


def _is_lone(model: Model, value: str) -> bool:
    """Whether the weight behind the value is read for this alone: a bias of two products is part of none."""
    while len(effective_uses(model, value)) == 1:
        node = model.producer(value)
        if node is None or hands(node) not in COPIES:
            return True
        value = node.inputs[0]
    return False


# --- the result


def _exchanged(at: RewriteContext, read: _Product, chain: Sequence[Node]) -> Simpler | None:
    """The transposed result: the second operand by the first, each transposed where it was not."""
    space = space_of(at, chain)
    if space is None:
        return None
    *batch, rows, columns = space[OPERAND].axes
    outer, target = [atom for axis in batch for atom in axis], [atom for axis in space[MADE].axes for atom in axis]
    op, dims, matrix = read.at.node.op, read.types[0].dims, read.types[1].dims
    inner = product(rows)
    if keys(target) != keys((*outer, *columns, *rows)):
        parts = _around(target, columns)
        if parts is None or not read.is_matrix or read.flags[0] or keys((*parts[0], *parts[1])) != keys(rows):
            return None
        count, inner = map(product, parts)
        if not _fills_blocks(at, inner):
            return None
        op, dims, matrix = "BatchMatMul", (count, inner, dims[-1]), (1, *matrix)
    added = () if read.bias is None else _joined_bias(at, read.bias, space)
    if added is None or any(_spreads(at, reader) for reader in _reading(at.model, at.node.name, inner)):
        return None
    multiply = Multiply(op, 1, read.operands[1], matrix, (not read.flags[1], not read.flags[0]))
    steps: tuple[Step, ...] = (Regroup(dims), multiply, *added, Regroup(at.out.dims))
    through = (*(node.name for node in chain[1:]), read.at.node.name, read.operands[1], *_given(read.bias))
    return Simpler("a transposition of what a product makes", read.operands[0], steps, through)


def _reading(model: Model, value: str, last: int) -> Iterator[Node]:
    """What reads the value with a last axis of that size, through regroupings."""
    pending = [value]
    for name in pending:
        kind = model.type_of(name)
        for reader in _uses(model, name):
            if reader is not None and hands(reader) is Hands.REGROUPED:
                pending.append(reader.name)
            elif reader is not None and kind is not None and kind.dims[-1:] == (last,):
                yield reader


def _joined_bias(at: RewriteContext, bias: str, space: Space) -> tuple[Step, ...] | None:
    """How a bias by what were columns is added: in the shape in which one elementwise operation, which takes the sum
    in, reads what is transposed. None where none does."""
    value, weight = at.node.name, _own_bias(at, bias)
    reader = _only(_uses(at.model, value))
    while reader is not None and hands(reader) is Hands.REGROUPED:
        value = reader.name
        if not space.reshape(MADE, at.tensor(value, "it").dims):
            return None
        reader = _only(_uses(at.model, value))
    kind = at.tensor(value, "it")
    if weight is None or reader is None or reader.op not in _NEIGHBOURS or at.model.type_of(reader.name) != kind:
        return None
    own, axes = set(keys(space[OPERAND].axes[-1])), [set(keys(axis)) for axis in space[MADE].axes]
    if any(axis & own and axis - own for axis in axes) or not _takes_one_more(at, reader):
        return None
    dims = tuple(size if axis & own else 1 for size, axis in zip(kind.dims, axes, strict=True))
    return (Regroup(kind.dims), AddBias(weight, dims))


def _takes_one_more(at: RewriteContext, reader: Node) -> bool:
    """Whether the kernel of the elementwise operation can have one more (rule 4), and is no reduction (5 and 7)."""
    model, limit = at.model, SPECIFICATIONS[at.target.soc].region_limit
    pending, region = [reader], {reader.name}
    while pending and len(region) < limit:
        node = pending.pop()
        before = [made for value in node.inputs if (made := model.producer(value)) is not None]
        joined = [other for other in before if _is_elementwise(other) and not _is_passed(model, other, node)]
        behind_it = (other for other in _uses(model, node.name) if other is not None and _is_elementwise(other))
        joined += [other for other in behind_it if not _is_passed(model, node, other)]
        pending += [other for other in joined if other.name not in region]
        region.update(other.name for other in joined)
    onward = _only(_uses(model, reader.name))
    while onward is not None and onward.op == "Cast":
        onward = _only(_uses(model, onward.name))
    return len(region) < limit and (onward is None or kernel(onward) not in (Kernel.REDUCE, Kernel.NORM))


def _is_passed(model: Model, node: Node, reader: Node) -> bool:
    """Whether what the reader takes from the node comes to it by way of other nodes as well: then both are no one
    kernel."""
    pending = [value for value in reader.inputs if value != node.name]
    seen = set(pending)
    while pending:
        made = model.producer(pending.pop())
        if made is None or made.graph is not node.graph or made.index <= node.index:
            continue
        if node.name in made.inputs:
            return True
        pending += [value for value in made.inputs if value not in seen]
        seen.update(made.inputs)
    return False


def _uses(model: Model, value: str) -> list[Node | None]:
    """What reads the value's numbers; None is the graph's output."""
    return [use.node for use in effective_uses(model, value)]


def _only(readers: Sequence[Node | None]) -> Node | None:
    return readers[0] if len(readers) == 1 else None


def _is_elementwise(node: Node | None) -> bool:
    return node is not None and node.op != CONSTANT and kernel(node) is Kernel.ELEMENTWISE
